// Watches directories as agents do, with fs.watch and with chokidar, and writes each event as a line of JSON:
//
//   {"by":"fs.watch","event":"rename","name":"a.lock"}
//   {"by":"chokidar","event":"add","name":"a.lock"}
//
// Arguments: the directory and the file to import chokidar from. Ends when stdin does.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [dir, chokidarFile] = process.argv.slice(2);
const { watch } = await import(pathToFileURL(chokidarFile));

function say(by, event, name) {
	fs.writeSync(1, `${JSON.stringify({ by, event, name })}\n`);
}

function fail(by) {
	return (error) => say(by, "error", String(error));
}

const watcher = fs.watch(dir, (event, name) => say("fs.watch", event, name));
watcher.on("error", fail("fs.watch"));

const tree = watch(dir);
tree.on("all", (event, file) => say("chokidar", event, path.relative(dir, file)));
tree.on("error", fail("chokidar"));
tree.on("ready", () => say("chokidar", "ready", ""));

process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
