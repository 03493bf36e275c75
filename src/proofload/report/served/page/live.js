// Shows the state that the server tells once a second. Every event holds the whole state, so a reload or a lost
// connection costs nothing. Text goes in as text: nothing that a target said can become markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const SIGNS = { PASS: "✓", FAIL: "✕", INCONCLUSIVE: "?", ERROR: "!", SKIPPED: "–" };
const LOOKS = { PASS: "mark-good", FAIL: "mark-bad", INCONCLUSIVE: "mark-warn", ERROR: "mark-other", SKIPPED: "mark-none" };
const CLASSES = [["2", "mark-good"], ["3", "mark-calm"], ["4", "mark-warn"], ["5", "mark-bad"], ["none", "mark-none"]];
const WIDTH = 860, LEFT = 64, RIGHT = 16;
const at = (id) => document.getElementById(id);

function node(tag, attributes, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

function draw(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function duration(ns) {
  if (ns >= 60e9) return `${Math.floor(ns / 60e9)}m${Math.floor((ns % 60e9) / 1e9)}s`;
  for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]])
    if (ns >= size) return `${Number((ns / size).toPrecision(3))}${unit}`;
  return `${Math.round(ns)}ns`;
}

const whole = (number) => Math.round(number).toLocaleString("en");

function frame(height, says, span) {
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "chart live-chart", role: "img", "aria-label": says });
  const x = (ns) => LEFT + (WIDTH - LEFT - RIGHT) * Math.min(ns / span, 1);
  const step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600].find((one) => span / (one * 1e9) <= 9) || 7200;
  for (let tick = 0; tick * 1e9 <= span; tick += step) {
    svg.append(draw("line", { x1: x(tick * 1e9), x2: x(tick * 1e9), y1: 8, y2: height - 22, class: "guide" }));
    svg.append(draw("text", { x: x(tick * 1e9), y: height - 6, class: "tick", "text-anchor": "middle" }, duration(tick * 1e9 || 0).replace("0ns", "0")));
  }
  return [svg, x];
}

function levels(svg, y, values, told) {
  for (const value of values) {
    svg.append(draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "guide" }));
    svg.append(draw("text", { x: LEFT - 8, y: y(value) + 4, class: "tick", "text-anchor": "end" }, told(value)));
  }
}

const path = (points, look) => draw("path", { d: "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L"), class: look });

function rate(points, span) {
  const top = Math.max(1, ...points.map((one) => Math.max(one.asked, one.sent)));
  const [svg, x] = frame(170, `up to ${whole(top)} requests a second`, span);
  const y = (value) => 148 - 136 * (value / (top * 1.05));
  levels(svg, y, [0, top / 2, top], (value) => `${whole(value)}/s`);
  if (points.length > 1) {
    svg.append(path(points.map((one) => [x(one.at_ns), y(one.asked)]), "curve offered"));
    svg.append(path(points.map((one) => [x(one.at_ns), y(one.sent)]), "curve line-0"));
  }
  return svg;
}

function answers(points, span) {
  const counts = points.map((one) => ({ ...one.classes, none: one.unanswered }));
  const top = Math.max(1, ...counts.map((one) => Object.values(one).reduce((sum, count) => sum + count, 0)));
  const [svg, x] = frame(150, "answers by the class of their status, over time", span);
  const height = (count) => 116 * (count / top);
  let before = 0;
  points.forEach((one, i) => {
    let base = 128;
    for (const [name, look] of CLASSES) {
      const count = counts[i][name] || 0;
      if (!count) continue;
      const tall = Math.max(height(count), 1);
      svg.append(draw("rect", { x: x(before) + 0.3, y: base - tall, width: Math.max(x(one.at_ns) - x(before) - 0.6, 1), height: tall, class: look }));
      base -= tall;
    }
    before = one.at_ns;
  });
  return svg;
}

function latency(points, span) {
  const some = points.filter((one) => one.p99_ns > 0);
  const [svg, x] = frame(170, some.length ? `median ${duration(some.at(-1).p50_ns)}, p99 ${duration(some.at(-1).p99_ns)}` : "no good answer yet", span);
  if (!some.length) return svg;
  const low = Math.log10(Math.min(...some.map((one) => one.p50_ns))) - 0.1, high = Math.log10(Math.max(...some.map((one) => one.p99_ns))) + 0.1;
  const y = (value) => 148 - 136 * ((Math.log10(value) - low) / (high - low));
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1)
    for (const factor of high - low > 2 ? [1] : [1, 2, 5]) if (Math.log10(factor) + power >= low && Math.log10(factor) + power <= high) ticks.push(factor * 10 ** power);
  levels(svg, y, ticks, duration);
  svg.append(path(some.map((one) => [x(one.at_ns), y(one.p99_ns)]), "curve line-1"));
  svg.append(path(some.map((one) => [x(one.at_ns), y(one.p50_ns)]), "curve line-0"));
  return svg;
}

function schedule(cases, span, now) {
  const begun = cases.filter((one) => one.began_ns !== null);
  const height = 34 + begun.length * 22;
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "chart", role: "img", "aria-label": `${begun.length} cases over ${duration(span)}` });
  const left = 130, x = (ns) => left + (WIDTH - left - RIGHT) * (ns / span);
  begun.forEach((one, i) => {
    const y = 8 + i * 22, to = one.ended_ns === null ? now : one.ended_ns;
    svg.append(draw("text", { x: left - 10, y: y + 13, class: "label", "text-anchor": "end" }, one.case));
    svg.append(draw("rect", { x: x(one.began_ns), y: y + 2, width: Math.max(x(to) - x(one.began_ns), 1), height: 14, rx: 3, class: LOOKS[one.outcome] || "mark-calm" }));
  });
  return svg;
}

function row(one) {
  const state = one.outcome || (one.running ? "running" : "waiting");
  const chip = node("span", { class: `chip ${state.toLowerCase()}` }, `${SIGNS[one.outcome] ? SIGNS[one.outcome] + " " : ""}${state}`);
  return node("tr", one.outcome || one.running ? {} : { class: "waiting-row" },
    node("th", { scope: "row" }, one.case), node("td", {}, chip), node("td", {}, one.what),
    node("td", { class: "right" }, one.left_ns ? `${Math.ceil(one.left_ns / 1e9)} s` : ""), node("td", { class: "right" }, whole(one.requests)));
}

function figures(state) {
  const last = state.points.slice(-4), mean = (pick) => last.length ? last.reduce((sum, one) => sum + pick(one), 0) / last.length : 0;
  const totals = {};
  for (const one of state.points) for (const [name, count] of Object.entries({ ...one.classes, none: one.unanswered })) totals[name] = (totals[name] || 0) + count;
  const told = [["Sent a second", `${whole(mean((one) => one.sent))} of ${whole(mean((one) => one.asked))}`]];
  for (const [name] of CLASSES) if (totals[name]) told.push([name === "none" ? "No answer" : `${name}xx`, whole(totals[name])]);
  const good = last.filter((one) => one.p99_ns);
  if (good.length) told.push(["p99 now", duration(Math.max(...good.map((one) => one.p99_ns)))]);
  return told.map(([name, value]) => node("div", {}, node("dt", {}, name), node("dd", {}, value)));
}

function show(state) {
  if (state.over) {
    at("headline").textContent = "The run has ended";
    source.close();
    location.replace(state.over);
    return;
  }
  const ended = state.cases.filter((one) => one.outcome).length, failed = state.cases.filter((one) => one.outcome === "FAIL").length;
  const headline = `${ended} of ${state.cases.length} cases ended${failed ? `, ${failed} FAIL` : ""}`;
  if (at("headline").textContent !== headline) at("headline").textContent = headline;
  document.title = `${ended}/${state.cases.length}${failed ? " FAIL" : ""} · proofload`;
  at("target").textContent = state.target || "";
  at("connection").textContent = `running for ${duration(Math.floor((state.elapsed_ns || 0) / 1e9) * 1e9 || 0).replace("0ns", "0s")}`;
  at("faults").hidden = !(state.faults || []).length;
  at("faults").textContent = `Faults in force: ${(state.faults || []).join(", ")}`;
  at("cases").replaceChildren(...state.cases.map(row));
  if (!state.points) return;
  const span = Math.max(state.elapsed_ns, 10e9);
  at("figures").replaceChildren(...figures(state));
  at("rate").replaceChildren(rate(state.points, span));
  at("answers").replaceChildren(answers(state.points, span));
  at("latency").replaceChildren(latency(state.points, span));
  at("schedule").replaceChildren(schedule(state.cases, span, state.elapsed_ns));
}

const source = new EventSource("events");
source.onmessage = (event) => show(JSON.parse(event.data));
source.onerror = () => { at("connection").textContent = "connection lost; trying again …"; };
