"use strict";

const at = (id) => document.getElementById(id);
const filters = at("filters");
const MILLISECONDS_BETWEEN_LOOKS = 500;
let looking = false;
let lookAgain = false;

// The address holds the filters, so that they survive a reload and the way back, and can be handed on.
let chosen = new URLSearchParams(location.search);
for (const select of filters.querySelectorAll("select:not([id])")) {
  select.value = chosen.get(select.name) || "";
  if (select.selectedIndex < 0) select.value = "";
}

// What the server sends as HTML holds no script, and the security policy would not run one.
function show(id, html) {
  const focused = document.activeElement && document.activeElement.id;
  const holder = document.createElement("template");
  holder.innerHTML = html;
  at(id).replaceChildren(holder.content);
  if (focused && document.activeElement === document.body && at(focused)) at(focused).focus();
}

function offer(select, values, chosen, first) {
  const options = (first === undefined ? [] : [["", first]]).concat(values.map((v) => [v, v || "no variation"]));
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
}

function tell(problem) {
  at("problem").hidden = !problem;
  at("problem").textContent = problem;
}

function render(shown) {
  const empty = shown.configs.length === 0;
  at("empty").hidden = !empty;
  at("content").hidden = empty;
  tell(shown.problem);
  if (empty) {
    at("lines").textContent = shown.empty;
    return;
  }
  if (chosen.get("config") !== shown.config) {
    chosen.delete("variation");
    chosen.delete("compare_to");
    chosen.set("config", shown.config);
  }
  offer(at("config"), shown.configs, shown.config);
  offer(at("variation"), shown.variations, chosen.get("variation"), "all");
  offer(at("compare_to"), shown.variations, chosen.get("compare_to") || shown.compare_to);
  at("heading").textContent = shown.heading;
  show("figures", shown.figures);
  show("runs", shown.runs);
  at("csv").href = `/runs.csv?${chosen}`;
  at("json").href = `/runs.json?${chosen}`;
}

async function look() {
  if (looking) {
    lookAgain = true;
    return;
  }
  looking = true;
  try {
    const answer = await fetch(`/view?${chosen}`);
    if (answer.status === 401) location.assign("/login");
    if (answer.ok) render(await answer.json());
    else tell(await answer.text());
  } catch {
    tell("the server does not answer");
  }
  setTimeout(() => {
    looking = false;
    if (lookAgain) {
      lookAgain = false;
      look();
    }
  }, MILLISECONDS_BETWEEN_LOOKS);
}

// The list may have been drawn anew while a run was open: the browser cannot give the focus back by itself.
let opener = "";
at("run").addEventListener("close", () => at(opener) && at(opener).focus());

async function open(number) {
  opener = `open-${number}`;
  const answer = await fetch(`/runs/${number}`);
  show("details", answer.ok ? await answer.text() : "");
  if (!answer.ok) at("details").textContent = await answer.text();
  at("run").showModal();
}

async function rate(number, kind) {
  const answer = await fetch(`/runs/${number}/feedback`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ kind }),
  });
  if (!answer.ok) at("state").textContent = await answer.text();
  look();
}

filters.addEventListener("change", (event) => {
  if (event.target.id === "config") {
    at("variation").value = "";
    at("compare_to").value = "";
  }
  chosen = new URLSearchParams(new FormData(filters));
  history.replaceState(null, "", `?${chosen}`);
  look();
});
filters.addEventListener("submit", (event) => event.preventDefault());

at("runs").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.feedback) {
    button.disabled = true;
    rate(button.dataset.run, button.dataset.feedback);
  } else {
    open(button.dataset.run);
  }
});

at("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(at("lines").textContent);
  at("copy").textContent = "Copied";
});

const news = new EventSource("/news");
news.onopen = () => (at("state").textContent = "live");
news.onmessage = look;
news.onerror = () => (at("state").textContent = "not connected");
look();
