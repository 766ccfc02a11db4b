// Draws with the network that lies in this page, by onnxruntime-web, which lies in it, too.
const config = JSON.parse(document.getElementById("config").textContent);
const COUNT = 24; // pictures in the grid
const BATCH = 4; // drawn at a time, so that the page stays awake
const WALK = 3000; // milliseconds from A to B
const $ = (id) => document.getElementById(id);
const pause = () => new Promise((resume) => setTimeout(resume));

// ---------------------------------------------------------------- the network

async function unpack(id) {
  const text = atob($(id).textContent);
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  $(id).remove(); // its memory is needed elsewhere
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function load() {
  const code = new Blob([await unpack("ort-code")], { type: "text/javascript" });
  const ort = await import(URL.createObjectURL(code));
  ort.env.wasm.wasmBinary = await unpack("ort-wasm");
  ort.env.wasm.numThreads = 1; // threads need headers that no file and few servers send
  ort.env.logLevel = "error";
  const open = async (id) => ort.InferenceSession.create(new Uint8Array(await unpack(id)), { executionProviders: ["wasm"], logSeverityLevel: 3 });
  return { ort, mapping: await open("mapping"), synthesis: await open("synthesis") };
}

const network = load();

/** z: Float32Array of n·z_dim numbers -> styles, Float32Array of n·num_ws·w_dim numbers, not truncated. */
async function styles(z, label) {
  const { ort, mapping } = await network;
  const n = z.length / config.z_dim;
  const feeds = { z: new ort.Tensor("float32", z, [n, config.z_dim]) };
  if (config.c_dim) {
    const c = new Float32Array(n * config.c_dim);
    for (let i = 0; i < n; i++) c[i * config.c_dim + label] = 1;
    feeds.c = new ort.Tensor("float32", c, [n, config.c_dim]);
  }
  return (await mapping.run(feeds)).ws.data;
}

/** Styles pulled towards the average style: not at all at psi = 1, entirely at 0. */
function truncated(ws, psi) {
  return ws.map((value, i) => value - (value - config.w_avg[i % config.w_dim]) * (1 - psi));
}

/** Styles -> {dims: [n, channels, height, width], data: about -1 to 1}. */
async function synthesize(ws) {
  const { ort, synthesis } = await network;
  const size = config.num_ws * config.w_dim;
  const { images } = await synthesis.run({ ws: new ort.Tensor("float32", ws, [ws.length / size, config.num_ws, config.w_dim]) });
  return { dims: [...images.dims], data: images.data };
}

/** For whoever tries the network from the console: draw(z, psi, class) -> {dims, data}. */
window.draw = async (z, psi = 1, label = 0) => synthesize(truncated(await styles(Float32Array.from(z), label), psi));

// ---------------------------------------------------------------- seeds, as NumPy's RandomState draws them

function noise(seed, count) {
  const state = new Uint32Array(624); // Mersenne Twister (Matsumoto and Nishimura 1998)
  state[0] = seed;
  for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let at = 624;
  const next = () => {
    if (at === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    }
    let y = state[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  const uniform = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  const z = [];
  while (z.length < count) { // the polar method (Marsaglia and Bray 1964)
    const x = 2 * uniform() - 1, y = 2 * uniform() - 1, r = x * x + y * y;
    if (r >= 1 || r === 0) continue;
    const f = Math.sqrt((-2 * Math.log(r)) / r);
    z.push(f * y, f * x);
  }
  return z.slice(0, count);
}

// ---------------------------------------------------------------- pictures

/** Picture i of a batch, on a canvas of its own size. */
function paint(canvas, { dims, data }, i = 0) {
  const [, channels, height, width] = dims, area = height * width;
  const pixels = new ImageData(width, height);
  const byte = (channel, p) => data[(i * channels + channel) * area + p] * 127.5 + 128; // the array rounds down and clips
  const value = (channel, p) => Math.floor(Math.min(Math.max(byte(channel, p), 0), 255));
  for (let p = 0; p < area; p++) {
    for (let k = 0; k < 3; k++) pixels.data[4 * p + k] = value(channels < 3 ? 0 : k, p);
    pixels.data[4 * p + 3] = channels % 2 ? 255 : value(channels - 1, p);
  }
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

const psi = () => Number($("psi").value);
const label = () => Number($("class").value || 0);
const start = () => Math.min(Math.max(Math.floor(Number($("seed").value)) || 0, 0), 2 ** 32 - 1 - COUNT);
const tiles = Array.from({ length: COUNT }, (_, i) => {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.append(document.createElement("canvas"), document.createElement("span"));
  tile.addEventListener("click", () => choose(i));
  tile.addEventListener("keydown", (event) => move(event, i));
  $("grid").append(tile);
  return tile;
});

let shown = []; // {seed, ws} of each tile
let round = 0; // of drawing: an older one gives up
const ends = { a: null, b: null };
let slot = "b"; // that the next choice fills

/** All tiles anew; with `fresh`, of other seeds or another class. */
async function drawAll(fresh) {
  const mine = ++round;
  try {
    if (fresh) {
      const seeds = tiles.map((_, i) => start() + i);
      const ws = await styles(Float32Array.from(seeds.flatMap((seed) => noise(seed, config.z_dim))), label());
      const size = ws.length / COUNT;
      if (mine !== round) return;
      shown = seeds.map((seed, i) => ({ seed, ws: ws.slice(i * size, (i + 1) * size) }));
      [ends.a, ends.b, slot] = [shown[0], shown[1], "a"];
      $("walk").value = 0;
      mark();
    }
    await drawLarge();
    for (let i = 0; i < COUNT; i += BATCH) {
      const batch = shown.slice(i, i + BATCH).flatMap(({ ws }) => [...truncated(ws, psi())]);
      const images = await synthesize(Float32Array.from(batch));
      if (mine !== round) return;
      tiles.slice(i, i + BATCH).forEach((tile, k) => paint(tile.firstChild, images, k));
      await pause();
    }
    $("status").textContent = $("status").className = "";
    document.body.dataset.drawn = String(mine); // for tests: which round is on show
  } catch (error) {
    fail(error);
  }
}

let busy = false, again = false;
/** The large picture; of several calls while one is being drawn, only the last counts. */
async function drawLarge() {
  if (!ends.a) return; // the network is still being unpacked
  if (busy) return void (again = true);
  busy = true;
  try {
    do {
      again = false;
      const t = Number($("walk").value), { a, b } = ends;
      paint($("large"), await synthesize(truncated(a.ws.map((w, i) => w + t * (b.ws[i] - w)), psi())));
      $("large").dataset.shown = `${a.seed} ${b.seed} ${t}`;
      await pause();
    } while (again);
  } finally {
    busy = false;
  }
}

function mark() {
  tiles.forEach((tile, i) => {
    const { seed } = shown[i];
    tile.lastChild.textContent = seed;
    tile.classList.toggle("is-a", shown[i] === ends.a);
    tile.classList.toggle("is-b", shown[i] === ends.b);
    tile.setAttribute("aria-label", `Seed ${seed}` + (shown[i] === ends.a ? ", A" : shown[i] === ends.b ? ", B" : ""));
    tile.tabIndex = i ? -1 : 0;
  });
  $("name-a").textContent = ends.a.seed;
  $("name-b").textContent = ends.b.seed;
  $("next").textContent = slot.toUpperCase();
}

function choose(i) {
  if (!shown[i]) return;
  ends[slot] = shown[i];
  $("walk").value = slot === "a" ? 0 : 1;
  slot = slot === "a" ? "b" : "a";
  mark();
  drawLarge().catch(fail);
}

function move(event, i) {
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (!step || !tiles[i + step]) return;
  event.preventDefault();
  tiles[i].tabIndex = -1;
  tiles[i + step].tabIndex = 0;
  tiles[i + step].focus();
}

// ---------------------------------------------------------------- controls

$("new").addEventListener("click", () => {
  $("seed").value = Math.floor(Math.random() * 1e6);
  drawAll(true);
});
$("seed").addEventListener("change", () => {
  $("seed").value = start();
  drawAll(true);
});
$("class").addEventListener("change", () => drawAll(true));
$("psi").addEventListener("input", () => {
  $("psi-value").textContent = psi().toFixed(2);
  if (shown.length) drawAll(false);
});
$("walk").addEventListener("input", () => drawLarge().catch(fail));

let walking = 0; // the frame that is asked for
$("play").addEventListener("click", () => {
  const on = !walking;
  $("play").setAttribute("aria-pressed", String(on));
  $("play").textContent = on ? "Stop" : "Walk";
  cancelAnimationFrame(walking);
  walking = 0;
  if (!on) return;
  const begin = performance.now() - (Math.acos(1 - 2 * Number($("walk").value)) / Math.PI) * WALK;
  const step = (now) => {
    $("walk").value = (1 - Math.cos((Math.PI * (now - begin)) / WALK)) / 2; // there and back, slow at both ends
    drawLarge().catch(fail);
    walking = requestAnimationFrame(step);
  };
  walking = requestAnimationFrame(step);
});

$("save").addEventListener("click", () => {
  if (!ends.a) return;
  const small = $("large"), scale = Math.max(1, Math.round(512 / small.height));
  const canvas = Object.assign(document.createElement("canvas"), { width: small.width * scale, height: small.height * scale });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false; // every pixel stays a square
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob) });
    const t = Number($("walk").value);
    link.download = `${config.name}-${ends.a.seed}` + (t ? `-to-${ends.b.seed}-at-${t.toFixed(2)}` : "") + ".png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
});

function fail(error) {
  console.error(error);
  $("status").className = "wrong";
  $("status").textContent = `This browser cannot draw here (${error.message ?? error}). It takes WebAssembly with SIMD, and a browser of 2023 or later.`;
}

if (config.c_dim) {
  const names = config.classes ?? Array.from({ length: config.c_dim }, (_, i) => String(i));
  $("class").append(...names.map((name, i) => new Option(name, i)));
  $("class-label").hidden = false;
}
network.then(() => drawAll(true), fail);
