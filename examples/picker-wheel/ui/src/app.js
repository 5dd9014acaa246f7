// The page: which wheel is shown, what is edited, and the talk with the API.

import { WheelView } from './wheel.js';

const PALETTE = ['#ef476f', '#f78c6b', '#ffd166', '#83d483', '#06d6a0', '#0cb0a9', '#118ab2', '#7b5ea7'];
const $ = (id) => document.getElementById(id);

const view = new WheelView($('wheel'));
const session = crypto.getRandomValues(new Uint32Array(2)).join('-');
const state = { wheels: [], id: '', options: [], edited: false, spinning: false };

/** Asks the API. Addresses are relative: the page may live under any path. */
async function api(path, { method = 'GET', body } = {}) {
    const response = await fetch(`api/${path}`, {
        method,
        headers: body ? { 'content-type': 'application/json' } : {},
        body: body && JSON.stringify(body),
    });
    const text = await response.text();
    let value = null;
    try {
        value = text ? JSON.parse(text) : null;
    } catch {
        throw new Error(`the API answered ${response.status}, and not in JSON`);
    }
    if (!response.ok) throw new Error(value?.error ?? `the API answered ${response.status}`);
    return value;
}

/** Runs something that may fail, and says so on the page. */
async function attempt(work) {
    try {
        await work();
        $('problem').hidden = true;
    } catch (problem) {
        $('problem').textContent = `That did not work: ${problem.message}`;
        $('problem').hidden = false;
    }
}

function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
}

// ---- wheels ----

async function loadWheels(select) {
    state.wheels = await api('wheels');
    const wheel = state.wheels.find(({ id }) => id === select) ?? state.wheels[0];
    if (wheel) show(wheel);
    else showWheels();
}

function show(wheel) {
    state.id = wheel.id;
    state.options = wheel.options.map((option) => ({ ...option }));
    state.edited = false;
    $('name').value = wheel.name;
    $('result').textContent = 'Press the button, or the space bar.';
    $('result').classList.remove('won');
    showWheels();
    showOptions();
}

function showWheels() {
    $('wheels').replaceChildren(...state.wheels.map((wheel) => element('button', {
        type: 'button',
        className: wheel.id === state.id ? 'chip current' : 'chip',
        textContent: wheel.name,
        title: `${wheel.options.length} options, spun ${wheel.spins} times`,
        onclick: () => state.spinning || show(wheel),
    })));
    $('delete').disabled = !state.wheels.some(({ id }) => id === state.id);
}

// ---- options ----

function showOptions() {
    $('options').replaceChildren(...state.options.map((option, index) => {
        const change = (key, read) => (event) => {
            option[key] = read(event.target);
            edited();
        };
        return element('li', {},
            element('input', { type: 'color', value: option.color, ariaLabel: 'Colour', oninput: change('color', (input) => input.value) }),
            element('input', { className: 'label', value: option.label, maxLength: 60, ariaLabel: 'Label', oninput: change('label', (input) => input.value) }),
            element('label', { className: 'weight', title: 'How often it comes up, against the others' }, '×',
                element('input', {
                    type: 'number', min: 0.25, max: 1000, step: 0.25, value: option.weight, ariaLabel: 'Weight',
                    oninput: change('weight', (input) => Math.min(1000, Math.max(0.01, Number(input.value) || 1))),
                })),
            element('span', { className: 'share' }),
            element('button', {
                type: 'button', className: 'quiet', textContent: '✕', ariaLabel: `Remove ${option.label}`,
                disabled: state.options.length <= 2,
                onclick: () => { state.options.splice(index, 1); edited(); showOptions(); },
            }));
    }));
    refresh();
}

function refresh() {
    const total = state.options.reduce((sum, { weight }) => sum + weight, 0);
    document.querySelectorAll('.share').forEach((share, index) => {
        share.textContent = `${Math.round((state.options[index].weight / total) * 100)} %`;
    });
    view.options = state.options;
}

function edited() {
    state.edited = true;
    refresh();
}

function addOption() {
    const label = $('new-option').value.trim();
    if (!label || state.options.length >= 40) return;
    state.options.push({ label, color: PALETTE[state.options.length % PALETTE.length], weight: 1 });
    $('new-option').value = '';
    edited();
    showOptions();
    $('options').lastElementChild.scrollIntoView({ block: 'nearest' });
}

// ---- spin and history ----

async function spin() {
    if (state.spinning || state.options.length < 2) return;
    state.spinning = true;
    document.body.classList.add('spinning');
    $('spin').disabled = true;
    $('editor').inert = true; // what is being drawn must stay what is shown
    $('result').classList.remove('won');
    $('result').textContent = 'Round and round…';
    // The server draws; the wheel only shows it. What was edited goes along.
    await attempt(async () => {
        const shown = state.options.map((option) => ({ ...option }));
        const body = { wheel_id: state.id, session_id: session, ...(state.edited ? { options: shown } : {}) };
        const spun = await api('spin', { method: 'POST', body });
        await view.spinTo(spun.index);
        $('result').textContent = spun.result;
        $('result').classList.add('won');
    });
    if (!$('result').classList.contains('won')) $('result').textContent = 'The wheel is stuck.';
    state.spinning = false;
    document.body.classList.remove('spinning');
    $('spin').disabled = false;
    $('editor').inert = false;
    await attempt(loadHistory);
}

async function loadHistory() {
    const history = await api('history');
    $('count').textContent = history.length ? `last ${history.length}` : '';
    const names = new Map(state.wheels.map(({ id, name }) => [id, name]));
    $('history').replaceChildren(...(history.length
        ? history.map((spun) => element('li', {},
            element('strong', { textContent: spun.result }),
            element('span', { className: 'muted', textContent: names.get(spun.wheel_id) ?? 'a wheel of its own' }),
            element('time', { dateTime: spun.timestamp, textContent: new Date(spun.timestamp).toLocaleTimeString() })))
        : [element('li', { className: 'muted', textContent: 'Nothing has been decided yet.' })]));
}

// ---- wiring ----

$('spin').onclick = spin;
$('add').onclick = addOption;
$('new-option').onkeydown = (event) => {
    if (event.key === 'Enter') {
        event.preventDefault();
        addOption();
    }
};
$('editor').onsubmit = (event) => {
    event.preventDefault();
    attempt(async () => {
        const body = { name: $('name').value, options: state.options };
        const made = await api('wheels', { method: 'POST', body });
        await loadWheels(made.id);
    });
};
$('delete').onclick = () => {
    if (!confirm(`Delete the wheel “${$('name').value}”?`)) return;
    attempt(async () => {
        await api(`wheels/${state.id}`, { method: 'DELETE' });
        await loadWheels();
    });
};
document.onkeydown = (event) => {
    if (event.key === ' ' && !event.target.closest('input, button')) {
        event.preventDefault();
        spin();
    }
};

attempt(async () => {
    await loadWheels();
    await loadHistory();
});
