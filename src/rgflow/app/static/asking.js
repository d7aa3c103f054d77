// What the page asks of the server, and the bar that shows how far that is.
"use strict";
const $ = id => document.getElementById(id);
const say = (text, wrong = false) => { $("said").textContent = text; $("said").className = wrong ? "wrong" : ""; };
const BAR_AFTER = 500, GUESS_AFTER = 1000;   // milliseconds until the bar is shown, and the time that is left

class Stopped extends Error {}
class Lost extends Error {}   // the server doesn't answer
async function comeback(text, words) {   // unless something else is said by then
  for (let back = false; $("said").textContent === text && !back;) {
    await new Promise(rest => setTimeout(rest, 1000));
    back = await fetch("health").then(answer => answer.ok, () => false);
    if (back && $("said").textContent === text) say(`The server is back. ${words} That was cut off: do it again.`);
  }
}

let job = null;   // what is under way
const busy = () => Boolean(job);

class Job {
  constructor(words) {
    this.words = words; this.controller = new AbortController(); this.id = null; this.first = null;
    job = this;
    $("bar").hidden = true; $("progress").removeAttribute("value"); $("left").textContent = ""; $("stop").disabled = false;
    this.timer = setTimeout(() => { $("bar").hidden = false; }, BAR_AFTER);
  }

  at(share) {
    const now = performance.now();
    this.first ??= [share, now];
    const spent = now - this.first[1], done = share - this.first[0];
    $("progress").value = share;
    if (done > 0 && spent > GUESS_AFTER) $("left").textContent = `${inWords(spent / done * (1 - share) / 1000)} left`;
  }

  stop() {   // the server says when it has stopped; who only waits for an answer needn't
    $("stop").disabled = true;
    if (this.id) fetch(`photographs/${this.id}/stop`, { method: "POST" });
    else this.controller.abort();
  }

  end() {
    clearTimeout(this.timer); job = null; $("bar").hidden = true;
  }
}

const inWords = seconds => seconds < 90 ? `${Math.max(Math.round(seconds), 1)} s` : `${Math.round(seconds / 60)} min`;

async function ask(path, how = {}) {
  const mine = job;
  const answer = await fetch(path, { signal: mine?.controller.signal, ...how }).catch(error => {
    throw error.name === "AbortError" ? new Stopped("Stopped.") : new Lost("The server doesn't answer: is it still running?");
  });
  if (answer.ok) return answer;
  if (answer.status === 428 && !how.again) return ask(path, { ...how, again: true });   // it has set the cookie that was missing
  const { detail } = await answer.json().catch(() => ({}));
  if (answer.status === 409) setTimeout(() => choose(photo.id));   // as another page left it
  throw new Error(typeof detail === "string" ? detail : `The server refused this with status ${answer.status}: check the values.`);
}

const waiting = [];   // what is to be done next
async function doing(words, work, patient = false) {   // patient: it is done later, if something is under way
  if (busy()) {
    if (patient) waiting.push([words, work]);
    say(patient ? `${words} That begins when what is under way has ended; Stop ends it.` : "Something else is under way: wait, or press Stop.", !patient);
    return;
  }
  const mine = new Job(words);
  document.body.dataset.busy = "true";
  for (const one of document.querySelectorAll("#tools button")) if (one.id !== "open") one.disabled = true;
  say(words);
  try { await sent; await work(); } catch (error) {
    say(error instanceof Lost ? `${words} The server doesn't answer: what was done before is kept.` : error.message, !(error instanceof Stopped));
    if (error instanceof Lost) comeback($("said").textContent, words);
  }
  mine.end();
  document.body.dataset.busy = "false";
  for (const one of document.querySelectorAll("#tools button")) one.disabled = !photo && !one.closest("#opening");
  draw();
  if (waiting.length) doing(...waiting.shift());
}

// Lines of JSON, as the server computes; what came of it is the last one.
async function working(what, region, onLine = () => {}, of = photo) {
  const mine = job;
  mine.id = of.id;
  const answer = await ask(`photographs/${of.id}/${what}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(region ?? {}),
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(error => { throw error.name === "AbortError" ? new Stopped("Stopped.") : new Lost(); });
    if (done) throw new Lost();
    const lines = (rest + value).split("\n"); rest = lines.pop();
    for (const line of lines.map(one => JSON.parse(one))) {
      if (line.progress !== undefined) mine.at(line.progress);
      if (line.version !== undefined) { of.version = line.version; draw(); }
      if (line.step && of === photo) did(line.step, true);
      if (line.error) throw new Error(line.error);
      if (line.stopped) throw new Stopped("Stopped: the picture is as it was.");
      await onLine(line);
      if (line.done) return line;
    }
  }
}

$("stop").onclick = () => job?.stop();
