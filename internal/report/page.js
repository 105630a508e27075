"use strict";
(() => {
const D = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";
const make = (name, attributes, parent, text) => {
  const e = document.createElementNS(NS, name);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  if (text !== undefined) e.textContent = text;
  if (parent) parent.appendChild(e);
  return e;
};
const html = (name, cls, parent, text) => {
  const e = document.createElement(name);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  if (parent) parent.appendChild(e);
  return e;
};

// Words for numbers.
const count = n => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");
const short = n => n >= 1e6 ? +(n / 1e6).toPrecision(3) + " M" : n >= 1e4 ? +(n / 1e3).toPrecision(3) + " k" : count(n);
const wait = us => {
  if (us < 1000) return +us.toPrecision(3) + " µs";
  if (us < 1e6) return +(us / 1e3).toPrecision(3) + " ms";
  if (us < 1e8) return +(us / 1e6).toPrecision(3) + " s";
  const s = Math.round(us / 1e6);
  if (s < 3600) return Math.floor(s / 60) + "m" + String(s % 60).padStart(2, "0") + "s";
  if (s < 86400) return Math.floor(s / 3600) + "h" + String(Math.floor(s % 3600 / 60)).padStart(2, "0") + "m";
  return Math.floor(s / 86400) + "d" + String(Math.floor(s % 86400 / 3600)).padStart(2, "0") + "h";
};
// Times of day are those of the zone that the report was made for.
const iso = ms => new Date(ms + D.zone * 60e3).toISOString();
const clock = (ms, fine) => iso(ms).slice(11, fine >= 1000 ? 19 : 23);
const span = D.width * D.count;

// Ticks of a time axis: at round times of day.
const timeTicks = most => {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5];
  let step = steps.find(s => span / s <= most);
  if (!step) { step = 864e5; while (span / step > most) step *= 2; }
  const ticks = [], off = D.zone * 60e3;
  for (let at = Math.ceil((D.from + off) / step) * step - off; at <= D.from + span; at += step) ticks.push(at);
  return {ticks, label: at => step >= 864e5 ? iso(at).slice(5, 10) : step >= 6e4 ? iso(at).slice(11, 16) : clock(at, step)};
};
const niceTop = v => {
  if (v <= 4) return 4;
  const unit = 10 ** Math.floor(Math.log10(v));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map(m => m * unit).find(t => t >= v);
};

let shown = 0; // view
let cursor = -1; // column
let draw = null; // what draws the crosshair

const runs = (list, is) => {
  const found = [];
  for (let i = 0; i < list.length; i++) {
    if (!is(list[i])) continue;
    const from = i;
    while (i + 1 < list.length && is(list[i + 1])) i++;
    found.push([from, i]);
  }
  return found;
};

function charts() {
  const v = D.views[shown], box = $("charts");
  const W = Math.max(280, box.clientWidth), narrow = W < 560;
  const L = narrow ? 50 : 66, R = narrow ? 8 : 14, PW = W - L - R;
  const n = D.count, X = i => L + i / n * PW;
  box.replaceChildren();

  const lanes = [
    {list: v.dead, cls: "dead", name: "Clients that gave up", tip: "gave up"},
    {list: v.overflow, cls: "over-b", name: "Refused, the queue was full", tip: "refused"},
    {list: v.failed, cls: "fail", name: "Failed calls of accept()", tip: "accept() failed"},
    {list: v.purged, cls: "purge", name: "Lost when the listener closed", tip: "purged"},
    {list: v.accepted, cls: "acc", name: "Accepted", tip: "accepted"},
  ].filter(l => l.list && l.list.some(x => x > 0));

  const key = html("ul", "key", box);
  const keyItem = (text, inside) => {
    const li = html("li", "", key), s = make("svg", {viewBox: "0 0 24 12", "aria-hidden": "true"}, li);
    inside(s);
    li.append(text);
  };
  keyItem(v.fill ? "connections in all queues" : "connections in the queue", s => make("path", {class: "depth", d: "M1 11V4H23V11"}, s));
  if (v.backlog) keyItem("backlog (the queue holds one more)", s => make("path", {class: "limit", d: "M0 6H24"}, s));
  if (v.stalls) keyItem(v.fill ? "stalled: at a listener, nobody accepted" : "stalled: nobody accepted", s => make("rect", {class: "stall", x: 1, y: 1, width: 22, height: 10}, s));

  const panelH = narrow ? 140 : 170, laneH = 34, gap = 46;
  const fillH = v.fill ? 84 : 0;
  const H = 30 + panelH + (fillH ? gap + fillH : 0) + lanes.length * (laneH + 30) + 2 * (gap + panelH) + 66;
  const svg = make("svg", {viewBox: `0 0 ${W} ${H}`, height: H, role: "img", tabindex: 0,
    "aria-label": `Queue, events and waits over time at ${v.name}. Arrow keys move through the columns.`}, box);
  const defs = make("defs", {}, svg);
  const hatch = make("pattern", {id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)"}, defs);
  make("rect", {class: "hatch-ground", width: 7, height: 7}, hatch);
  make("path", {class: "hatch-line", d: "M0 0V7"}, hatch);

  const time = timeTicks(narrow ? 4 : 9);
  const timeX = at => L + (at - D.from) / span * PW;
  const verticals = (top, height, labels) => {
    let edge = -1e9;
    for (const at of time.ticks) {
      const x = timeX(at);
      make("path", {class: "grid", d: `M${x} ${top}V${top + height}`}, svg);
      if (!labels) continue;
      const t = make("text", {x, y: top + height + 17, "text-anchor": x > W - 34 ? "end" : x < L + 22 ? "start" : "middle"}, svg, time.label(at));
      const b = t.getBBox();
      if (b.x < edge + 10) t.remove(); else edge = b.x + b.width;
    }
  };
  const title = (y, text) => make("text", {class: "title", x: 0, y}, svg, text);
  const yLabel = (y, text) => make("text", {x: L - 8, y: y + 4, "text-anchor": "end"}, svg, text);
  const linear = (top, height, most, unit) => {
    const hi = niceTop(most), Y = x => top + height - x / hi * height;
    for (const part of [0, .25, .5, .75, 1]) {
      const y = Y(hi * part);
      make("path", {class: part ? "grid" : "base", d: `M${L} ${y}H${L + PW}`}, svg);
      if (part === 0 || part === .5 || part === 1) yLabel(y, short(hi * part) + unit);
    }
    return Y;
  };
  const steps = (list, Y, close) => {
    let d = "", before = null;
    list.forEach((x, i) => {
      const y = Y(x).toFixed(1);
      if (i === 0) d = close ? `M${X(0)} ${Y(0)}V${y}` : `M${X(0)} ${y}`;
      else if (y !== before) d += `H${X(i).toFixed(1)}V${y}`;
      before = y;
    });
    d += `H${X(list.length).toFixed(1)}`;
    return close ? d + `V${Y(0)}Z` : d;
  };
  const each = wait(D.width * 1000);

  // The queue.
  let y = 14;
  title(y, v.fill ? "Connections in all queues" : `Connections in the queue`);
  y += 26;
  const top = y, most = Math.max(...v.depth, 1);
  const limits = v.backlog ? Math.max(...v.backlog) : 0;
  const showLimit = limits > 0 && limits <= most * 40;
  verticals(y, panelH);
  const Y = linear(y, panelH, Math.max(most, showLimit ? limits + 1 : 0), "");
  const T0 = ms => L + ms / span * PW;
  const bands = v.bands || (v.stalls ? runs(v.stalls, x => x > 0).map(([from, to]) => [from * D.width, (to + 1) * D.width]) : []);
  for (const [from, to] of bands) make("rect", {class: "stall", x: T0(from), y, width: Math.max(2, T0(to) - T0(from)), height: panelH}, svg);
  make("path", {class: "depth", d: steps(v.depth, Y, true)}, svg);
  if (showLimit) for (const [from, to] of runs(v.backlog, x => x > 0)) {
    let d = `M${X(from)} ${Y(v.backlog[from])}`;
    for (let i = from; i <= to; i++) d += `V${Y(v.backlog[i])}H${X(i + 1)}`;
    make("path", {class: "limit", d}, svg);
  }
  if (limits > 0) make("text", {class: "in", x: L + 6, y: !showLimit ? y + 14 : Y(limits) - y > 16 ? Y(limits) - 6 : Y(limits) + 16}, svg, `backlog ${count(limits)}` + (showLimit ? "" : ", far above"));
  // Not on the line of the limit, nor on its label.
  const stalledY = showLimit && Math.abs(Y(limits) - y - 26) < 24 ? Y(limits) + 36 : y + 34;
  for (const [from, to] of bands) {
    if (T0(to) - T0(from) > 96 && !v.fill) make("text", {class: "stalled", x: T0(from) + 9, y: stalledY}, svg, `stalled ${wait((to - from) * 1000)}`);
  }
  y += panelH;

  if (fillH) {
    y += gap;
    title(y - 20, "Fullest queue, per cent of its places");
    verticals(y, fillH);
    const F = linear(y, fillH, Math.max(100, ...v.fill), " %");
    make("path", {class: "depth", d: steps(v.fill, F, true)}, svg);
    y += fillH;
  }

  // What happened, a lane each.
  for (const lane of lanes) {
    y += 26;
    const m = Math.max(...lane.list), total = lane.list.reduce((a, b) => a + b, 0);
    title(y - 2, lane.name);
    const about = make("text", {x: L + PW, y: y - 2, "text-anchor": "end"}, svg, narrow ? `${short(total)}` : `${count(total)} in all, at most ${count(m)} in ${each}`);
    about.classList.add("in");
    y += 6;
    make("path", {class: "base", d: `M${L} ${y + laneH}H${L + PW}`}, svg);
    yLabel(y + 5, short(m));
    let d = "";
    lane.list.forEach((x, i) => {
      if (x > 0) {
        const h = Math.max(2, x / m * laneH);
        d += `M${X(i).toFixed(1)} ${(y + laneH - h).toFixed(1)}H${Math.max(X(i + 1) - (PW / n > 4 ? 1 : 0), X(i) + 1).toFixed(1)}V${y + laneH}H${X(i).toFixed(1)}Z`;
      }
    });
    make("path", {class: lane.cls, d}, svg);
    y += laneH - 2;
  }
  y += lanes.length ? 2 : 0;

  // Waits: the same axis for quantiles and heat map.
  let low = 1e18, high = 0;
  v.heat.forEach(h => {
    if (h.length) {
      low = Math.min(low, D.bins[h[0]]);
      high = Math.max(high, D.bins[h[0] + h.length - 1]);
    }
  });
  let cells = null;
  if (high > 0 || low < 1e18) {
    let lo = Math.log10(Math.max(8, low)), hi = Math.max(Math.log10(Math.max(16, high)), lo + .5);
    if (Math.floor(hi) - Math.ceil(lo) < 1) { lo = Math.floor(lo); hi = Math.ceil(hi); } // two labels make a scale
    const logs = (top, height) => {
      const T = us => top + height - (Math.log10(Math.max(us, 10 ** lo)) - lo) / (hi - lo) * height;
      for (let e = Math.ceil(lo - 1e-9); e <= hi + 1e-9; e++) {
        make("path", {class: "grid", d: `M${L} ${T(10 ** e)}H${L + PW}`}, svg);
        yLabel(T(10 ** e), e < 8 ? wait(10 ** e) : `${10 ** (e - 6)} s`);
      }
      make("path", {class: "base", d: `M${L} ${top + height}H${L + PW}`}, svg);
      return T;
    };
    y += gap;
    title(y - 20, "Wait until accept, log scale");
    verticals(y, panelH);
    const T = logs(y, panelH);
    const styles = [["max", "qmax", "longest"], ["p50", "q50", "p50"], ["p90", "q90", "p90"], ["p99", "q99", "p99"]];
    for (const [name, cls] of styles) {
      let d = "";
      for (const [from, to] of runs(v[name], x => x >= 0)) {
        for (let i = from; i <= to; i++) d += (i === from ? "M" : "L") + (X(i) + X(i + 1)) / 2 + " " + T(v[name][i]).toFixed(1);
        if (from === to) d += "m-3 0h6"; // a point by itself would hardly be seen
      }
      make("path", {class: "q " + cls, d}, svg);
    }
    for (const [, cls, name] of [styles[1], styles[2], styles[3], styles[0]])
      keyItem(name === "longest" ? "longest wait" : name + " of waits", s => make("path", {class: "q " + cls, d: "M1 6H23"}, s));
    y += panelH + gap;

    title(y - 20, narrow ? "Heat map of waits, log scale" : "Heat map of waits: connections by their wait until accept, log scale");
    const heatTop = y;
    const Th = us => y + panelH - (Math.log10(Math.max(us, 10 ** lo)) - lo) / (hi - lo) * panelH;
    let most = 1;
    v.heat.forEach(h => { for (let i = 1; i < h.length; i++) most = Math.max(most, h[i]); });
    const levels = 6, level = c => Math.min(levels, 1 + Math.floor(Math.log(c) / Math.log(most + 1) * levels));
    const paths = Array(levels + 1).fill("");
    v.heat.forEach((h, i) => {
      for (let j = 1; j < h.length; j++) {
        if (!h[j]) continue;
        const bin = h[0] + j - 1, a = Math.min(y + panelH, Th(D.bins[bin])), b = Math.max(y, Th(D.bins[bin + 1]));
        if (a - b > 0) paths[level(h[j])] += `M${X(i).toFixed(1)} ${b.toFixed(1)}H${(X(i + 1) + .3).toFixed(1)}V${(a + .3).toFixed(1)}H${X(i).toFixed(1)}Z`;
      }
    });
    verticals(y, panelH, true);
    logs(y, panelH);
    for (let i = 1; i <= levels; i++) make("path", {class: "h" + i, d: paths[i]}, svg);
    y += panelH + 30;
    let x = L;
    const used = [];
    for (let i = 1; i <= levels; i++) {
      const from = Math.max(1, Math.ceil((most + 1) ** ((i - 1) / levels) - 1e-9)), to = i === levels ? most : Math.ceil((most + 1) ** (i / levels) - 1e-9) - 1;
      if (to >= from) used.push([i, from, to]);
    }
    make("text", {x: 0, y: y + 10}, svg, "per cell");
    for (const [i, from, to] of used) {
      make("rect", {class: "h" + i, x, y, width: 14, height: 12, rx: 2}, svg);
      const t = make("text", {class: "in", x: x + 19, y: y + 10}, svg, from === to ? short(from) : `${short(from)}–${short(to)}`);
      x += 19 + t.getComputedTextLength() + (narrow ? 9 : 18);
      if (x > W - 60 && narrow) { x = L; y += 18; }
    }
    y += 14;
    cells = heatTop + panelH;
  } else {
    verticals(top, panelH, true);
    cells = y;
  }
  svg.setAttribute("viewBox", `0 0 ${W} ${y + 8}`);
  svg.setAttribute("height", y + 8);

  // Crosshair and tooltip.
  const cross = make("path", {class: "cross", d: "", visibility: "hidden"}, svg);
  const about = i => {
    const rows = [[v.fill ? "in all queues" : "in the queue", count(v.depth[i])]];
    if (v.backlog && v.backlog[i]) rows.push(["backlog", count(v.backlog[i])]);
    if (v.fill) rows.push(["fullest queue", v.fill[i] + " %"]);
    if (v.stalls && v.stalls[i]) rows.push(["stalled", v.fill ? count(v.stalls[i]) + " at a time" : "yes"]);
    for (const lane of lanes) rows.push([lane.tip, count(lane.list[i])]);
    if (v.p50[i] >= 0) for (const [q, name] of [["p50", "wait p50"], ["p90", "p90"], ["p99", "p99"], ["max", "longest"]]) rows.push([name, wait(v[q][i])]);
    return rows;
  };
  draw = (i, x, atY) => {
    cursor = i;
    const tip = $("tip");
    if (i < 0) { tip.hidden = true; cross.setAttribute("visibility", "hidden"); return; }
    const mid = (X(i) + X(i + 1)) / 2;
    cross.setAttribute("d", `M${mid} ${top}V${cells}`);
    cross.setAttribute("visibility", "visible");
    tip.replaceChildren();
    const from = D.from + i * D.width;
    html("b", "", tip, `${clock(from, D.width)} – ${clock(Math.min(from + D.width, D.from + D.length), D.width)}`);
    const table = html("table", "", tip);
    for (const [name, value] of about(i)) {
      const tr = html("tr", "", table);
      html("td", "", tr, name);
      html("td", "", tr, value);
    }
    place(tip, x, atY);
  };
  const columnAt = clientX => {
    const r = svg.getBoundingClientRect();
    const i = Math.floor(((clientX - r.left) / r.width * W - L) / PW * n);
    return i >= 0 && i < n ? i : -1;
  };
  const move = e => draw(columnAt(e.clientX), e.clientX, e.clientY);
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerdown", move);
  svg.addEventListener("pointerleave", () => draw(-1));
  svg.addEventListener("blur", () => draw(-1));
  svg.addEventListener("keydown", e => {
    const by = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -n, End: n}[e.key];
    if (e.key === "Escape") return draw(-1);
    if (!by) return;
    e.preventDefault();
    const i = Math.min(n - 1, Math.max(0, cursor + by)), r = svg.getBoundingClientRect();
    draw(i, r.left + (X(i) + X(i + 1)) / 2 * r.width / W, Math.max(20, r.top + 40));
  });
}

function place(tip, x, y) {
  tip.hidden = false;
  const w = tip.offsetWidth, h = tip.offsetHeight;
  tip.style.left = Math.max(6, x + 18 + w > innerWidth - 6 ? x - 18 - w : x + 18) + "px";
  tip.style.top = Math.max(6, Math.min(y - 20, innerHeight - h - 6)) + "px";
}

function patience() {
  const v = D.views[shown], list = v.patience || [];
  $("gaveup").hidden = list.length === 0;
  if (!list.length) return;
  $("gaveup-about").textContent = (shown ? v.name + ": " : "") + v.about;
  const box = $("patience"), W = Math.max(280, box.clientWidth), narrow = W < 560;
  box.replaceChildren();
  const L = narrow ? 50 : 66, R = 16, T = 52, PH = 170, PW = W - L - R, H = T + PH + 48;
  const svg = make("svg", {viewBox: `0 0 ${W} ${H}`, height: H, role: "img", "aria-label": "Clients by how long they waited in the queue before they gave up"}, box);
  make("text", {class: "title", x: 0, y: 14}, svg, "Clients by the wait after which they gave up");
  const lo = Math.log10(Math.max(1, list[0][0] || list[0][1] / 2)), hi = Math.max(Math.log10(list[list.length - 1][1]), lo + .3);
  const X = us => L + (Math.log10(Math.max(us, 10 ** lo)) - lo) / (hi - lo) * PW;
  const most = Math.max(...list.map(b => b[2])), top = niceTop(most), Y = c => T + PH - c / top * PH;
  for (const part of [0, .5, 1]) {
    make("path", {class: part ? "grid" : "base", d: `M${L} ${Y(top * part)}H${L + PW}`}, svg);
    if (top * part % 1 === 0) make("text", {x: L - 8, y: Y(top * part) + 4, "text-anchor": "end"}, svg, short(top * part));
  }
  for (const b of list) {
    const x = X(b[0]), bar = make("path", {class: "dead", d: `M${x + .5} ${T + PH}V${Math.min(Y(b[2]), T + PH - 2)}H${Math.max(x + 1.5, X(b[1]) - .5)}V${T + PH}Z`}, svg);
    const say = e => {
      const tip = $("tip");
      tip.replaceChildren();
      html("b", "", tip, `${count(b[2])} ${b[2] === 1 ? "client" : "clients"}`);
      tip.append(`gave up after ${wait(b[0])} – ${wait(b[1])}`);
      place(tip, e.clientX, e.clientY);
    };
    bar.addEventListener("pointermove", say);
    bar.addEventListener("pointerdown", say);
    bar.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  }
  let edge = -1e9;
  for (let e = Math.floor(lo); e <= hi; e++) for (const m of hi - lo > 3 ? [1] : hi - lo > 1 ? [1, 2, 5] : [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8]) {
    const us = m * 10 ** e, x = X(us);
    if (Math.log10(us) < lo - 1e-9 || Math.log10(us) > hi + 1e-9) continue;
    make("path", {class: "base", d: `M${x} ${T + PH}v5`}, svg);
    const t = make("text", {x, y: T + PH + 19, "text-anchor": "middle"}, svg, wait(us)), b = t.getBBox();
    if (b.x < edge + 8) t.remove(); else edge = b.x + b.width;
  }
  make("text", {x: L + PW, y: T + PH + 40, "text-anchor": "end"}, svg, "time in the queue, log scale");
  for (const [us, share] of (v.clusters || []).slice(0, 1)) {
    const x = X(us), right = x > L + PW * .6;
    make("path", {class: "cluster", d: `M${x} ${T - 16}V${T + PH}`}, svg);
    make("text", {class: "title", x: right ? x - 8 : x + 8, y: T - 9, "text-anchor": right ? "end" : "start"}, svg, `${Math.round(share * 100)} % at about ${wait(us)}`);
  }
}

// Tables: a button in each head sorts.
function sortable(table) {
  const body = table.tBodies[0];
  const value = (row, i) => {
    const c = row.cells[i];
    return c.dataset.v !== undefined ? +c.dataset.v : c.textContent;
  };
  [...table.tHead.rows[0].cells].forEach((th, i) => {
    if (th.classList.contains("plain")) return;
    const b = html("button");
    b.type = "button";
    b.textContent = th.textContent;
    th.replaceChildren(b);
    b.addEventListener("click", () => {
      const before = th.getAttribute("aria-sort");
      const down = before ? before === "ascending" : th.classList.contains("n");
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map(row => [value(row, i), row]);
      const collate = new Intl.Collator("en", {numeric: true});
      rows.sort(([a], [b]) => (down ? -1 : 1) * (typeof a === "number" ? a - b : collate.compare(a, b)));
      body.append(...rows.map(r => r[1]));
    });
  });
}

function filter() {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(w => w), only = $("trouble").checked;
  const rows = $("listeners").tBodies[0].rows;
  let n = 0;
  for (const row of rows) {
    const text = (row.cells[0].textContent + " " + row.cells[1].textContent).toLowerCase();
    const show = (!only || row.classList.contains("t")) && words.every(w => text.includes(w));
    row.hidden = !show;
    n += show;
  }
  $("found").textContent = n === rows.length ? `${count(n)} shown` : `${count(n)} of ${count(rows.length)} shown`;
}

function show(view) {
  shown = view;
  $("view").value = view;
  charts();
  patience();
}

document.querySelectorAll("table.sortable").forEach(sortable);
$("find").addEventListener("input", filter);
$("trouble").addEventListener("change", filter);
$("view").addEventListener("change", () => show(+$("view").value));
$("listeners").addEventListener("click", e => {
  const a = e.target.closest("a[data-view]");
  if (a) show(+a.dataset.view);
});
let drawn = 0;
addEventListener("resize", () => {
  if (innerWidth !== drawn) { drawn = innerWidth; show(shown); }
});
addEventListener("scroll", () => { $("tip").hidden = true; }, {passive: true});
drawn = innerWidth;
filter();
// The worst listener is what one wants to see first.
show(D.views.length > 1 ? 1 : 0);
})();
