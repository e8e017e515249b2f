// Shows what sessionlockfs does, with real processes on a directory made for it: one
// takes a lock the way an agent does, is killed, and the next one wants the lock. First
// on the bare directory, then on the mount.
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const [binary, role, ...rest] = process.argv.slice(2);
const roles = { hold, contend };
if (role) roles[role](...rest);
else await demo();

// hold takes a lock as agents do: exclusively, with a payload, and keeps it open.
function hold(lock) {
  const fd = fs.openSync(lock, "wx");
  fs.writeSync(fd, JSON.stringify({ pid: process.pid, createdAt: new Date().toISOString() }, null, 2));
  console.log("held");
  setInterval(() => {}, 1 << 30);
}

// contend tries for the lock until it has it or the time is up, and says when that was.
function contend(lock, patienceMs) {
  const until = Date.now() + Number(patienceMs);
  let refused = 0;
  console.log("trying");
  while (Date.now() < until) {
    try {
      fs.closeSync(fs.openSync(lock, "wx"));
      console.log(JSON.stringify({ wonAt: now(), refused }));
      fs.unlinkSync(lock);
      return;
    } catch (err) {
      if (err.code !== "EEXIST") throw err;
      refused++;
    }
  }
  console.log(JSON.stringify({ refused }));
}

function now() {
  return performance.timeOrigin + performance.now();
}

async function demo() {
  const parent = fs.mkdtempSync(path.join(os.tmpdir(), "sessionlockfs-demo-"));
  const dir = path.join(parent, "sessions");
  fs.mkdirSync(dir);
  const lock = path.join(dir, "chat.jsonl.lock");
  let mounted = false;
  const unmount = () => {
    if (mounted) execFileSync(binary, ["unmount", dir], { stdio: "inherit" });
    mounted = false;
    fs.rmSync(parent, { recursive: true, force: true });
  };
  process.on("SIGINT", () => process.exit(130));
  process.on("exit", unmount);

  console.log(`\nOn the bare directory ${dir}`);
  await round(lock, 2000, false);
  fs.rmSync(lock, { force: true });

  console.log(`\nThe same with sessionlockfs mounted over it`);
  execFileSync(binary, ["mount", "--background", "--log-file", path.join(parent, "log"), dir], { stdio: "ignore" });
  mounted = true;
  await round(lock, 10000, true);
  console.log();
}

// round plays one death: held, refused, killed, taken (or not).
async function round(lock, patienceMs, mounted) {
  const holder = await start("hold", lock);
  console.log(`  process ${holder.child.pid} holds chat.jsonl.lock`);
  if (mounted) {
    console.log(indent(execFileSync(binary, ["locks", path.dirname(lock)], { encoding: "utf8" })));
    console.log(`  somebody else runs rm:  ${removal(lock)}`);
  }
  const contender = await start("contend", lock, String(patienceMs));
  const killedAt = now();
  holder.child.kill("SIGKILL");
  const { wonAt, refused } = JSON.parse(await contender.line());
  if (wonAt) {
    console.log(`  process ${holder.child.pid} is killed; process ${contender.child.pid} has the lock ${(wonAt - killedAt).toFixed(1)} ms later (refused ${refused} times while it lived)`);
  } else {
    console.log(`  process ${holder.child.pid} is killed; process ${contender.child.pid} waits for a ghost: refused ${refused} times in ${patienceMs} ms, then gave up`);
  }
  await contender.exited;
}

function removal(lock) {
  try {
    execFileSync("rm", [lock], { stdio: "pipe", encoding: "utf8" });
    return "removed it";
  } catch (err) {
    return err.stderr.trim();
  }
}

function indent(text) {
  return text.trimEnd().replace(/^/gm, "    ");
}

// start runs this script in a role and waits for its first line.
async function start(...args) {
  const child = spawn(process.execPath, [process.argv[1], binary, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise((done) => child.on("exit", done));
  const lines = (async function* () {
    let buffer = "";
    for await (const chunk of child.stdout) {
      buffer += chunk;
      for (let end; (end = buffer.indexOf("\n")) >= 0; buffer = buffer.slice(end + 1)) yield buffer.slice(0, end);
    }
  })();
  const line = async () => (await lines.next()).value;
  await line();
  return { child, exited, line };
}
