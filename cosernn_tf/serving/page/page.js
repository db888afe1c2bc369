// The page for people: asks the API as any client would, and keeps nothing but a token.
import { drawMap, placeOf, tellMap } from './map.js';

const DAYS = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];
const DEVICES = ['mobile', 'desktop', 'speaker', 'web', 'tablet'];
const TRACKS = 10;
const SESSIONS = 20;
const MS_PLAYED = 180000;
const GAP = 20 * 60;
const HOUR = 3600;
const DAY = 24 * HOUR;
const PAUSE = 4 * HOUR; // after the start of a session: it is over then, most likely

const get = id => document.getElementById(id);

const state = {
  user: null,
  sessions: [],
  map: null,
  places: [], // of predictions, the latest last
  shown: null, // ids of the tracks that are shown, best first
  heardUntil: null, // UTC second at which the last listen of this page ended
};

// The API -----------------------------------------------------------------------------------------

class Problem extends Error {}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem('token');
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('The server does not answer. Is it running?');
  }
  const answer = await response.json();
  if (response.ok) return answer;
  if (response.status === 401) get('token-form').hidden = false;
  throw new Problem(answer.error);
}

function ofUser(what, parameters) {
  return `v1/users/${encodeURIComponent(state.user)}/${what}?${new URLSearchParams(parameters)}`;
}

async function tried(action) {
  try {
    await action();
    get('problem').hidden = true;
  } catch (error) {
    if (error.name === 'AbortError') return;
    if (!(error instanceof Problem)) throw error;
    get('problem').textContent = error.message;
    get('problem').hidden = false;
    tell('');
  }
}

function tell(text) {
  get('status').textContent = text;
}

// The context -------------------------------------------------------------------------------------

function context() {
  const device = document.querySelector('input[name=device]:checked').value;
  return { day: Number(get('day').value), hour: Number(get('hour').value), device };
}

function hourText(hour) {
  return `${String(hour).padStart(2, '0')}:00`;
}

function showContext() {
  const { day, hour } = context();
  get('day-name').textContent = DAYS[day];
  get('hour-name').textContent = hourText(hour);
  get('day').setAttribute('aria-valuetext', DAYS[day]);
  get('hour').setAttribute('aria-valuetext', hourText(hour));
}

// Hours that the user's clock is ahead of UTC, as of the last session.
function offsetHours() {
  const last = state.sessions.at(-1);
  if (!last) return 0;
  const utc = new Date(last.start * 1000).getUTCHours();
  return ((last.hour - utc + 36) % 24) - 12;
}

// From when on a session may start: seconds on the user's clock.
function earliestStart() {
  const last = state.sessions.at(-1);
  if (!last) return Math.floor(Date.now() / 1000);
  return last.start + (last.is_open ? 0 : PAUSE) + offsetHours() * HOUR;
}

// The first moment from then on that has the day and hour that are chosen.
function startOfSession() {
  const { day, hour } = context();
  const earliest = earliestStart();
  const midnight = Math.floor(earliest / DAY) * DAY;
  const weekday = (Math.floor(earliest / DAY) + 3) % 7; // 1 January 1970 was a Thursday
  let start = midnight + ((day - weekday + 7) % 7) * DAY + hour * HOUR;
  if (start + HOUR <= earliest) start += 7 * DAY;
  return Math.max(start, earliest);
}

function rfc3339(local) {
  const offset = offsetHours();
  const sign = offset < 0 ? '-' : '+';
  const hours = String(Math.abs(offset)).padStart(2, '0');
  return `${new Date(local * 1000).toISOString().slice(0, 19)}${sign}${hours}:00`;
}

function setContext(last) {
  const earliest = earliestStart();
  get('day').value = (Math.floor(earliest / DAY) + 3) % 7;
  get('hour').value = Math.floor((earliest % DAY) / HOUR);
  const device = last && DEVICES.includes(last.device) ? last.device : DEVICES[0];
  get(`device-${device}`).checked = true;
  showContext();
}

// Recommendations ---------------------------------------------------------------------------------

let asking = new AbortController();

async function recommend() {
  if (state.user === null) return;
  asking.abort();
  asking = new AbortController();
  const { device } = context();
  const at = rfc3339(startOfSession());
  const path = ofUser('recommendations', { device, at, k: TRACKS, embedding: true });
  const answer = await ask(path, { signal: asking.signal });
  showBasis(answer);
  showAttention(answer.long_term_attention);
  const change = showTracks(answer.tracks);
  showPlace(answer.embedding);
  const where = `${answer.day_of_week}, ${hourText(answer.hour)}, on ${answer.device}`;
  tell(`${answer.tracks.length} tracks for ${where}${change}.`);
}

function showBasis(answer) {
  const count = answer.earlier_sessions;
  get('basis').textContent = count
    ? `Run ${answer.run}, by ${count} earlier sessions, at ${answer.at}.`
    : `Run ${answer.run}. Nothing is known of this user: by the context alone, at ${answer.at}.`;
}

function showAttention(share) {
  get('attention').hidden = share === null;
  if (share === null) return;
  const percent = Math.round(100 * share);
  get('beta-long').style.width = `${percent}%`;
  get('beta-share').textContent = `${percent} %`;
  get('now-share').textContent = `${100 - percent} %`;
  get('beta').setAttribute('aria-label', `Attention: ${percent} % on long-term taste, the rest on now`);
}

function element(tag, { text, name, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// What has become of a track since the list before; nothing at first.
function changeOf(track, row) {
  if (state.shown === null) return '';
  const before = state.shown.indexOf(track.track_id);
  if (before < 0) return 'new';
  return before > row ? `up ${before - row}` : before < row ? `down ${row - before}` : '';
}

// Shows them, and says what has changed.
function showTracks(tracks) {
  const changes = tracks.map(changeOf);
  const focused = document.activeElement?.dataset?.rank;
  get('tracks').replaceChildren(...tracks.map((track, row) => {
    const label = element('span', { text: track.score.toFixed(3), name: 'score' });
    if (changes[row]) label.append(' ', element('span', { text: changes[row], name: 'change' }));
    const button = element('button', { text: 'Listen', type: 'button', 'data-rank': track.rank });
    button.append(element('span', { text: ` to ${track.track_id}`, name: 'unseen' }));
    button.addEventListener('click', () => tried(() => listen(track.track_id)));
    return element('li', {},
      element('span', { text: track.rank, name: 'rank' }),
      element('span', { name: 'name' }, element('span', { text: track.track_id }), label),
      button);
  }));
  if (focused) document.querySelector(`[data-rank="${focused}"]`)?.focus();
  const isFirst = state.shown === null;
  state.shown = tracks.map(track => track.track_id);
  if (isFirst) return '';
  const fresh = changes.filter(change => change === 'new').length;
  if (fresh) return `, ${fresh} of them new`;
  return changes.some(Boolean) ? ', the same in another order' : ', the same as before';
}

// A listen ----------------------------------------------------------------------------------------

async function listen(track) {
  const { device } = context();
  const start = startOfSession() - offsetHours() * HOUR;
  const open = state.heardUntil;
  // In the session that this page has begun, right after the listen before.
  const timestamp = open !== null && start < open + GAP ? open : start;
  const listens = [{
    user_id: state.user,
    track_id: track,
    timestamp,
    ms_played: MS_PLAYED,
    device,
    utc_offset_minutes: 60 * offsetHours(),
  }];
  const told = await ask('v1/listens', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ listens }),
  });
  state.heardUntil = timestamp + MS_PLAYED / 1000;
  await showHistory();
  await recommend();
  const last = state.sessions.at(-1);
  const outcome = told.accepted ? 'Listened' : told.late ? 'Too late for a session' : 'Known already';
  const count = last?.num_tracks === 1 ? '1 listen' : `${last?.num_tracks} listens`;
  const opened = last?.is_open ? `: the open session has ${count} now` : '';
  tell(`${outcome}${opened}. ${get('status').textContent}`);
}

// History -----------------------------------------------------------------------------------------

async function showHistory() {
  const answer = await ask(ofUser('history', { last: SESSIONS }));
  state.sessions = answer.sessions;
  const latestFirst = answer.sessions.toReversed();
  get('sessions').replaceChildren(...latestFirst.map(session => {
    const offset = offsetHours();
    const day = new Date((session.start + offset * HOUR) * 1000).toISOString().slice(0, 10);
    const kept = session.tracks.length;
    const more = session.num_tracks > kept ? `, ${session.num_tracks} listens` : '';
    const when = element('p', { name: 'when', text: `${session.day_of_week} ${day}, ${hourText(session.hour)} ` },
      element('span', { text: `on ${session.device}${more}` }));
    if (session.is_open) when.append(', ', element('span', { text: 'open', name: 'open-mark' }));
    const tracks = session.tracks.map(track => {
      const text = track.track_id ?? 'a track that the vocabulary lacks';
      const chip = element('span', { text, name: track.skipped ? 'track-name skipped' : 'track-name' });
      return element('li', {}, chip,
        ...(track.skipped ? [element('span', { text: ' (skipped)', name: 'unseen' })] : []));
    });
    return element('li', { name: session.is_open ? 'open' : '' }, when, element('ul', {}, ...tracks));
  }));
  if (!latestFirst.length) {
    get('sessions').replaceChildren(element('li', { text: 'Nothing yet.' }));
  }
}

// The map -----------------------------------------------------------------------------------------

function showPlace(embedding) {
  state.places.push(placeOf(state.map, embedding));
  state.places = state.places.slice(-6);
  drawMap(get('map'), state.map, state.places);
  get('map-text').textContent = tellMap(state.map, state.places);
}

// The start ---------------------------------------------------------------------------------------

async function showUser(user) {
  Object.assign(state, { user, shown: null, places: [], heardUntil: null });
  tell('Asking…');
  await showHistory();
  setContext(state.sessions.at(-1));
  await recommend();
}

let timer;
function contextChanged() {
  showContext();
  clearTimeout(timer);
  timer = setTimeout(() => tried(recommend), 150);
}

async function start() {
  state.map = await ask('v1/map');
  const { users } = await ask('v1/users?count=50');
  get('user-list').replaceChildren(...users.map(user => element('option', { text: user })));
  get('user').value = users[0] ?? 'somebody new';
  await showUser(get('user').value);
}

for (const device of DEVICES) {
  const button = element('input', { type: 'radio', name: 'device', value: device, id: `device-${device}` });
  button.name = 'device';
  button.addEventListener('change', contextChanged);
  get('devices').append(element('label', {}, button, element('span', { text: device })));
}
setContext(null);
get('day').addEventListener('input', contextChanged);
get('hour').addEventListener('input', contextChanged);
get('user-list').addEventListener('change', () => {
  get('user').value = get('user-list').value;
  tried(() => showUser(get('user').value));
});
get('user-form').addEventListener('submit', event => {
  event.preventDefault();
  tried(() => showUser(get('user').value));
});
get('token-form').addEventListener('submit', event => {
  event.preventDefault();
  sessionStorage.setItem('token', get('token').value.trim());
  get('token-form').hidden = true;
  tried(start);
});
const redraw = () => drawMap(get('map'), state.map, state.places);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
addEventListener('resize', redraw);
tried(start);
