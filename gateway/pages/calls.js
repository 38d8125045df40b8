// Live calls: one card each, with a table of the legs and a timeline of their probability.

import { make } from "./page.js";

const SHOWN_CALLS = 24; // the search finds the others
const TIMELINE_S = 120;
const KEPT_POINTS = 400; // per leg
const CHART_HEIGHT_PX = 130;
const COLOURS = ["--first", "--second", "--third", "--fourth"]; // of legs, in order
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]]; // legs must be distinguishable without colour
const COLUMNS = ["leg", "role", "speech", "sounds synthetic", "so far"];

export class Calls {
  // The cards are added to `container`.
  constructor(container) {
    this.container = container;
    this.timelines = new Map(); // "call leg" -> [{ at_s, p }]
    this.cards = new Map(); // call id -> Card
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const card of this.cards.values()) card.forgetChart();
    });
  }

  // Add a `score` event. `GET /v1/calls` gives no points: its position is newer than its probability.
  add({ data }) {
    const name = `${data.call_id} ${data.leg}`;
    const points = this.timelines.get(name) ?? [];
    this.timelines.set(name, points);
    points.push({ at_s: data.media_time_s, p: data.p_synthetic });
    if (points.length > KEPT_POINTS) points.shift();
  }

  // Show the live calls from `GET /v1/calls` whose id contains `wanted`; return how many exceed the number of cards.
  show(listed, wanted = "") {
    const calls = listed.map((call) => ({ ...call, legs: call.legs.filter((leg) => leg.ended_by === null) }));
    this.#forgetOthers(calls);
    const found = calls.filter((call) => call.call_id.toLowerCase().includes(wanted.toLowerCase()));
    const shown = found.toSorted((one, other) => suspicion(other) - suspicion(one)).slice(0, SHOWN_CALLS);
    const ids = new Set(shown.map((call) => call.call_id));
    for (const [id, card] of this.cards) if (!ids.has(id)) this.#remove(id, card);
    for (const call of calls.filter((one) => ids.has(one.call_id))) {
      let card = this.cards.get(call.call_id);
      if (!card) {
        card = new Card(call.call_id);
        this.cards.set(call.call_id, card);
        this.container.append(card.element);
      }
      card.show(call, call.legs.map((leg) => this.timelines.get(`${call.call_id} ${leg.leg}`) ?? []));
    }
    return found.length - shown.length;
  }

  #remove(id, card) {
    card.forgetChart();
    card.element.remove();
    this.cards.delete(id);
  }

  #forgetOthers(calls) {
    const live = new Set(calls.flatMap((call) => call.legs.map((leg) => `${call.call_id} ${leg.leg}`)));
    for (const name of this.timelines.keys()) if (!live.has(name)) this.timelines.delete(name);
  }
}

function suspicion(call) {
  return Math.max(0, ...call.legs.map((leg) => (["clear", "undecided"].includes(leg.alert) ? 0 : 1) + leg.p_synthetic));
}

class Card {
  constructor(id) {
    const titleId = `call-${crypto.randomUUID?.() ?? Math.random()}`;
    this.age = make("span", { className: "note" });
    this.body = make("tbody");
    this.plot = make("div", { className: "plot", role: "img" });
    this.table = make("table", {},
      make("thead", {}, make("tr", {}, ...COLUMNS.map((name) => make("th", { scope: "col" }, name)))), this.body);
    this.element = make("article", { className: "card" },
      make("h3", { id: titleId }, id, " ", this.age), this.table, this.plot);
    this.element.setAttribute("aria-labelledby", titleId);
    this.legs = "";
  }

  show(call, timelines) {
    const minutes = Math.floor(call.age_s / 60);
    this.age.textContent = `${call.source}, ${minutes}:${String(Math.floor(call.age_s % 60)).padStart(2, "0")}`;
    this.body.replaceChildren(...call.legs.map(legRow));
    this.element.classList.toggle("alerted", call.legs.some((leg) => ["provisional", "confirmed"].includes(leg.alert)));
    this.plot.ariaLabel = `Timeline of the legs' probability of being synthetic. ${call.legs.map(inWords).join(". ")}.`;
    this.#draw(call.legs.map((leg) => leg.leg), timelines);
  }

  forgetChart() {
    this.chart?.destroy();
    this.chart = undefined;
  }

  #draw(legs, timelines) {
    if (this.legs !== legs.join(" ")) this.forgetChart();
    this.legs = legs.join(" ");
    const width = Math.max(200, this.plot.clientWidth);
    this.chart ??= new uPlot(chartOptions(legs, width), [[0], ...legs.map(() => [null])], this.plot);
    if (this.chart.width !== width) this.chart.setSize({ width, height: CHART_HEIGHT_PX });
    const tables = timelines.map((points) => [points.map((point) => point.at_s), points.map((point) => point.p)]);
    const data = uPlot.join(tables);
    this.chart.setData(data[0].length ? data : [[0], ...legs.map(() => [null])]);
  }
}

function legRow(leg, index) {
  const key = make("span", { className: `key key-${index % COLOURS.length}` });
  const soFar = [
    leg.verdict.replace("_", " "),
    ...(leg.alert === "undecided" ? [] : [`alert ${leg.alert}`]),
    ...(leg.windows_crosstalk ? [`${leg.windows_crosstalk} windows were another leg's voice`] : []),
  ].join(", ");
  return make("tr", {},
    make("th", { scope: "row" }, key, leg.leg),
    make("td", {}, leg.role),
    make("td", {}, `${leg.speech_s.toFixed(1)} s`),
    make("td", {}, leg.speech_s ? leg.p_synthetic.toFixed(2) : "no speech yet"),
    make("td", {}, soFar));
}

function inWords(leg) {
  return leg.speech_s ? `${leg.leg}: ${leg.p_synthetic.toFixed(2)}` : `${leg.leg}: no speech yet`;
}

function chartOptions(legs, width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height: CHART_HEIGHT_PX,
    legend: { show: false },
    cursor: { show: false },
    padding: [6, 6, 0, 0],
    scales: {
      x: { time: false, range: (_chart, _low, high) => [Math.max(0, (high ?? 0) - TIMELINE_S), Math.max(10, high ?? 0)] },
      y: { range: [0, 1] },
    },
    axes: [
      { ...axis, size: 28, values: (_chart, ticks) => ticks.map((tick) => `${tick} s`) },
      { ...axis, size: 34, splits: () => [0, 0.5, 1] },
    ],
    series: [{}, ...legs.map((leg, index) => ({
      label: leg,
      stroke: colour(COLOURS[index % COLOURS.length]),
      dash: DASHES[index % DASHES.length],
      width: 2,
      points: { show: false },
      spanGaps: true, // windows of different legs end at different times
    }))],
  };
}
