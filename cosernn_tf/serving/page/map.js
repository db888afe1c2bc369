// The track space in two dimensions: a sample of the tracks, and where predictions lie in it.

const NEAREST = 3;

// The place of an embedding on the plane of the map.
export function placeOf(map, embedding) {
  const centred = embedding.map((value, i) => value - map.mean[i]);
  return map.components.map(axis => axis.reduce((sum, value, i) => sum + value * centred[i], 0));
}

function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

// What the drawing shows, in words.
export function tellMap(map, places) {
  const now = places.at(-1);
  const near = map.points
    .map((point, row) => [distance(point, now), map.track_ids[row]])
    .sort((a, b) => a[0] - b[0])
    .slice(0, NEAREST)
    .map(([, id]) => id);
  const moved = places.length > 1
    ? ` It has moved by ${distance(now, places.at(-2)).toFixed(2)}.`
    : '';
  const share = Math.round(100 * map.explained);
  return `The prediction is at ${now[0].toFixed(2)}, ${now[1].toFixed(2)}.${moved} `
    + `Of the ${map.points.length} tracks drawn, ${near.join(', ')} are nearest on this plane, `
    + `which has ${share} % of the variance of the track embeddings: what is near here may be far in `
    + 'the 40 dimensions by which tracks are chosen.';
}

export function drawMap(canvas, map, places) {
  if (!map) return;
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  const all = [...map.points, ...places];
  const margin = 14;
  const [left, right] = range(all.map(point => point[0]));
  const [low, high] = range(all.map(point => point[1]));
  const scale = Math.min((width - 2 * margin) / (right - left), (height - 2 * margin) / (high - low));
  const at = ([x, y]) => [
    width / 2 + (x - (left + right) / 2) * scale,
    height / 2 - (y - (low + high) / 2) * scale,
  ];
  pen.fillStyle = colour('--edge');
  pen.globalAlpha = 0.45;
  for (const point of map.points) dot(pen, at(point), 1.6, true);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour('--warm');
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (const place of places) pen.lineTo(...at(place));
  pen.stroke();
  pen.fillStyle = colour('--card');
  for (const place of places.slice(0, -1)) {
    dot(pen, at(place), 4, true);
    dot(pen, at(place), 4, false);
  }
  pen.fillStyle = colour('--warm');
  if (places.length) dot(pen, at(places.at(-1)), 7, true);
}

function dot(pen, [x, y], radius, filled) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  if (filled) pen.fill();
  else pen.stroke();
}

function range(values) {
  let least = Infinity;
  let most = -Infinity;
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return most > least ? [least, most] : [least - 1, most + 1];
}
