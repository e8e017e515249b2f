// The real lock functions of a published OpenClaw, driven from outside.
//
// Reads one JSON command a line on stdin and writes one JSON answer a line on stdout:
//
//   {"id":1,"op":"acquire","session":"/s/a.jsonl","timeoutMs":2500}
//   {"id":1,"ok":true,"ms":3.2,"at":1700000000000.5,"lock":"l1"}
//
// "ms" is how long the command took, "at" when it ended (epoch milliseconds). "tries" are the exclusive creates of the
// lock meanwhile: "at", when one was asked for, and "code", how it was answered. Commands run side by side. A command
// with "at" names where to run it: a worker thread or a child process made earlier. Ends when stdin does, so no
// driver outlives its test.
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { execFile, fork, spawn } from "node:child_process";
import { syncBuiltinESMExports } from "node:module";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { pathToFileURL } from "node:url";

const options = parseOptions(process.argv.slice(2));
const now = () => performance.timeOrigin + performance.now();

function parseOptions(args) {
	const parsed = { openclaw: "", packages: "", title: false, noStartTime: false };
	for (let i = 0; i < args.length; i++) {
		if (args[i] === "--openclaw") parsed.openclaw = args[++i];
		else if (args[i] === "--packages") parsed.packages = args[++i];
		else if (args[i] === "--title") parsed.title = true;
		else if (args[i] === "--no-start-time") parsed.noStartTime = true;
		else throw new Error(`unknown option ${args[i]}`);
	}
	return parsed;
}

// ---- where answers go: stdout, the parent's IPC channel or the parent thread

function chooseChannel() {
	if (!isMainThread) return (answer) => parentPort.postMessage(answer);
	if (process.send) return (answer) => process.send(answer);
	return (answer) => fs.writeSync(1, `${JSON.stringify(answer)}\n`);
}

const answer = chooseChannel();

// ---- what clients try

// Exclusive creates by anybody in this process, oldest first. How often a client was refused says what it met, whatever
// else the machine has to do; how long it took does not.
const creates = [];

function noteCreates() {
	const real = fs.promises.open;
	fs.promises.open = async (file, flags, ...rest) => {
		if (flags !== "wx") return await real(file, flags, ...rest);
		const create = { name: path.basename(String(file)), at: now(), code: "" };
		creates.push(create);
		try {
			return await real(file, flags, ...rest);
		} catch (error) {
			create.code = error.code;
			throw error;
		}
	};
	syncBuiltinESMExports();
}

function triesOf({ session, path: file }, since) {
	const name = `${path.basename(session ?? file ?? "")}.lock`;
	return creates.filter((create) => create.name === name && create.at >= since).map(({ at, code }) => ({ at, code }));
}

// ---- OpenClaw

// hideStartTime makes the client see no start time for any process, as on a system without a readable /proc/PID/stat.
function hideStartTime() {
	const real = fs.readFileSync;
	fs.readFileSync = (file, ...rest) => {
		if (/^\/proc\/\d+\/stat$/.test(String(file))) throw Object.assign(new Error("hidden"), { code: "ENOENT" });
		return real(file, ...rest);
	};
}

// A build keeps several copies of the lock code in files with hashed names, and exports it under short aliases. The
// right file defines the lock and exports both functions.
function findLockModule(dist) {
	const defines = "async function acquireSessionWriteLock";
	const found = [];
	for (const name of fs.readdirSync(dist).sort()) {
		if (!/session.*\.js$/.test(name)) continue;
		const text = fs.readFileSync(path.join(dist, name), "utf8");
		if (!text.includes(defines)) continue;
		const aliases = { acquire: alias(text, "acquireSessionWriteLock"), sweep: alias(text, "cleanStaleLockFiles") };
		if (aliases.acquire) found.push({ file: path.join(dist, name), size: text.length, ...aliases });
	}
	found.sort((a, b) => Boolean(b.sweep) - Boolean(a.sweep) || a.size - b.size);
	if (found.length === 0) throw new Error(`no session write lock in ${dist}`);
	return found[0];
}

function alias(text, name) {
	const list = /^export \{([^}]*)\}/m.exec(text)?.[1] ?? "";
	for (const item of list.split(",")) {
		const [from, to] = item.trim().split(/\s+as\s+/);
		if (from === name) return to ?? from;
	}
	return undefined;
}

const instances = new Map();

// The query makes Node load the file once more: bundlers that double a module do the same to a process.
async function client(instance = "1") {
	if (!instances.has(instance)) {
		const found = findLockModule(path.join(options.openclaw, "dist"));
		const module = await import(`${pathToFileURL(found.file)}?${instance}`);
		instances.set(instance, { acquire: module[found.acquire], sweep: module[found.sweep] });
	}
	return instances.get(instance);
}

// ---- other packages

// packaged imports a file of a package, as resolution from here would not find it.
async function packaged(file) {
	return await import(pathToFileURL(path.join(options.packages, file)));
}

// What happened to locks while they were held, as the packages tell it.
const compromised = [];

// ---- commands

const locks = new Map();
const handles = new Map();
const places = new Map();
let serial = 0;

function keep(map, prefix, value) {
	const name = `${prefix}${++serial}`;
	map.set(name, value);
	return name;
}

const commands = {
	async acquire({ session, timeoutMs, staleMs, maxHoldMs, instance }) {
		const { acquire } = await client(instance);
		const lock = await acquire({ sessionFile: session, timeoutMs, staleMs, maxHoldMs, allowReentrant: false });
		return { lock: keep(locks, "l", lock) };
	},

	async release({ lock }) {
		await locks.get(lock).release();
		locks.delete(lock);
	},

	async sweep({ dir, staleMs, instance }) {
		const { sweep } = await client(instance);
		const warnings = [];
		const log = { warn: (text) => warnings.push(text), info() {} };
		const result = await sweep({ sessionsDir: dir, staleMs, removeStale: true, log });
		const names = (list) => list.map((entry) => path.basename(entry.lockPath));
		return { locks: names(result.locks), cleaned: names(result.cleaned), warnings };
	},

	// proper-lockfile: a directory that the holder touches every updateMs.
	async properLock({ path: file, staleMs, updateMs, retries }) {
		const { default: lockfile } = await packaged("proper-lockfile/index.js");
		const release = await lockfile.lock(file, {
			stale: staleMs, update: updateMs, retries, realpath: false,
			onCompromised: (error) => compromised.push(String(error?.message ?? error)),
		});
		return { lock: keep(locks, "l", { release }) };
	},

	// @openclaw/fs-safe: a file, whose removal by others has a guard directory beside it.
	async safeLock({ path: file, staleMs, timeoutMs }) {
		const { acquireFileLock } = await packaged("@openclaw/fs-safe/dist/file-lock.js");
		const lock = await acquireFileLock(file, {
			staleMs, timeoutMs, staleRecovery: "remove-if-unchanged", compromiseCheckIntervalMs: 100,
			payload: () => ({ pid: process.pid, createdAt: new Date().toISOString() }),
			onCompromised: (info) => compromised.push(info.lockPath),
		});
		return { lock: keep(locks, "l", lock) };
	},

	async stillHeld({ lock }) {
		return { held: await locks.get(lock).verifyStillHeld() };
	},

	async compromised() {
		return { warnings: compromised };
	},

	async open({ path: file, flags }) {
		const handle = await fs.promises.open(file, flags);
		return { handle: keep(handles, "h", handle), ino: String((await handle.stat({ bigint: true })).ino) };
	},

	async write({ handle, text }) {
		await handles.get(handle).writeFile(text);
	},

	async close({ handle }) {
		await handles.get(handle).close();
		handles.delete(handle);
	},

	async unlink({ path: file }) {
		await fs.promises.unlink(file);
	},

	async readFile({ path: file }) {
		return { text: await fs.promises.readFile(file, "utf8") };
	},

	async readdir({ path: dir }) {
		return { names: await fs.promises.readdir(dir) };
	},

	async watch({ path: dir }) {
		fs.watch(dir, () => {});
	},

	async utimes({ path: file, seconds }) {
		await fs.promises.utimes(file, seconds, seconds);
	},

	async stat({ path: file }) {
		const st = await fs.promises.stat(file, { bigint: true });
		return { ino: String(st.ino), size: Number(st.size), mode: Number(st.mode), mtimeNs: String(st.mtimeNs) };
	},

	async bash({ script }) {
		return await new Promise((resolve) => {
			execFile("bash", ["-c", script], (error, stdout, stderr) => {
				resolve({ status: error ? (error.code ?? -1) : 0, stdout, stderr });
			});
		});
	},

	async worker({ name }) {
		const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
		const place = makePlace((command) => worker.postMessage(command), () => worker.terminate());
		worker.on("message", place.heard);
		worker.on("error", place.failed);
		worker.on("exit", () => place.gone({}));
		places.set(name, place);
		await place.ready;
	},

	async fork({ name, how, pid }) {
		const child = pid ? await forkWithPid(pid) : startChild(how);
		const place = makePlace((command) => child.send(command), (signal) => child.kill(signal));
		child.on("message", place.heard);
		child.on("error", place.failed);
		child.on("exit", (code, signal) => place.gone({ code, signal }));
		places.set(name, place);
		await place.ready;
		return { pid: child.pid };
	},

	async kill({ name, signal }) {
		const place = places.get(name);
		place.kill(signal ?? "SIGKILL");
		return await place.exit;
	},

	async exit({ code }) {
		setImmediate(() => process.exit(code ?? 0));
	},
};

// ---- worker threads and child processes run this same file

function startChild(how) {
	const args = process.argv.slice(2);
	if (how === "spawn") {
		return spawn(process.execPath, [process.argv[1], ...args], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
	}
	return fork(process.argv[1], args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}

// forkWithPid makes a child with the given PID in our PID namespace, which must have one of its own: other processes
// and our own threads may take the number first, so it tries again.
async function forkWithPid(pid) {
	for (let tries = 0; tries < 200; tries++) {
		fs.writeFileSync("/proc/sys/kernel/ns_last_pid", String(pid - 1));
		const child = startChild("fork");
		if (child.pid === pid) return child;
		child.kill("SIGKILL");
		await new Promise((resolve) => child.on("exit", resolve));
	}
	throw new Error(`PID ${pid} did not come back`);
}

function makePlace(send, kill) {
	const waiting = new Map();
	const place = { kill };
	place.ready = new Promise((resolve, reject) => {
		place.heard = (message) => {
			if (message.ready) resolve();
			else waiting.get(message.id)?.(message);
		};
		place.failed = reject;
	});
	place.exit = new Promise((resolve) => {
		place.gone = resolve;
	});
	place.run = (command) => new Promise((resolve) => {
		waiting.set(command.id, resolve);
		send(command);
	});
	return place;
}

// ---- the loop

async function run(command) {
	const { id, op, at, ...args } = command;
	if (at) {
		answer(await places.get(at).run({ id, op, ...args }));
		return;
	}
	const started = now();
	const outcome = {};
	try {
		Object.assign(outcome, await commands[op](args), { ok: true });
	} catch (error) {
		Object.assign(outcome, { ok: false, error: String(error?.message ?? error), code: error?.code ?? "" });
	}
	answer({ id, ms: now() - started, at: now(), tries: triesOf(args, started), ...outcome });
}

function listen() {
	if (!isMainThread) {
		parentPort.on("message", run);
	} else if (process.send) {
		process.on("message", run);
		process.on("disconnect", () => process.exit(0));
	} else {
		readline.createInterface({ input: process.stdin }).on("line", (line) => run(JSON.parse(line)));
		process.stdin.on("end", () => process.exit(0));
	}
}

if (options.title && isMainThread) process.title = "openclaw-gateway";
if (options.noStartTime) hideStartTime();
noteCreates();
if (options.openclaw) await client();
listen();
answer({ ready: true, pid: process.pid });
