// Draws a wheel on a canvas and turns it. Knows nothing of the API.

const TURN = 2 * Math.PI;
const TOP = -Math.PI / 2; // where the pointer is

export class WheelView {
    #canvas;
    #context;
    #options = [];
    #angle = TOP; // the first option starts under the pointer
    #frame = 0;

    constructor(canvas) {
        this.#canvas = canvas;
        this.#context = canvas.getContext('2d');
        new ResizeObserver(() => this.#fit()).observe(canvas);
        this.#fit();
    }

    set options(options) {
        this.#options = options;
        this.#draw();
    }

    /** Turns until option `index` lies under the pointer; resolves when it does. */
    spinTo(index, random = Math.random) {
        const { start, size } = this.#slices()[index];
        // Not always the middle of the slice, and never so near its edge that one could argue.
        const target = start + size * (0.15 + 0.7 * random());
        const from = this.#angle % TURN;
        const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
        const turns = calm ? 0 : 5;
        let to = TOP - target;
        while (to < from + turns * TURN) to += TURN;
        const duration = calm ? 1 : 4200;
        cancelAnimationFrame(this.#frame);
        return new Promise((done) => {
            const began = performance.now();
            const step = (now) => {
                const share = Math.min(1, Math.max(0, now - began) / duration);
                this.#angle = from + (to - from) * (1 - (1 - share) ** 4);
                this.#draw();
                if (share < 1) {
                    this.#frame = requestAnimationFrame(step);
                } else {
                    done();
                }
            };
            this.#frame = requestAnimationFrame(step);
        });
    }

    #slices() {
        const total = this.#options.reduce((sum, option) => sum + option.weight, 0);
        let start = 0;
        return this.#options.map((option) => {
            const size = (option.weight / total) * TURN;
            const slice = { start, size, option };
            start += size;
            return slice;
        });
    }

    #fit() {
        const side = this.#canvas.clientWidth * devicePixelRatio;
        if (side > 0 && this.#canvas.width !== side) {
            this.#canvas.width = side;
            this.#canvas.height = side;
        }
        this.#draw();
    }

    #draw() {
        const side = this.#canvas.width;
        const context = this.#context;
        const middle = side / 2;
        const rim = side * 0.022;
        const radius = middle - rim;
        context.clearRect(0, 0, side, side);
        context.save();
        context.translate(middle, middle);
        context.rotate(this.#angle);

        const slices = this.#slices();
        for (const { start, size, option } of slices) {
            context.beginPath();
            context.moveTo(0, 0);
            context.arc(0, 0, radius, start, start + size);
            context.closePath();
            context.fillStyle = option.color;
            context.fill();
            context.lineWidth = Math.max(1, side * 0.003);
            context.strokeStyle = 'rgba(255, 255, 255, 0.7)';
            context.stroke();
        }
        for (const slice of slices) this.#label(slice, radius);

        // A soft light from the middle gives the flat slices some depth.
        const light = context.createRadialGradient(0, 0, radius * 0.1, 0, 0, radius);
        light.addColorStop(0, 'rgba(255, 255, 255, 0.22)');
        light.addColorStop(0.7, 'rgba(255, 255, 255, 0)');
        light.addColorStop(1, 'rgba(0, 0, 0, 0.16)');
        context.fillStyle = light;
        context.beginPath();
        context.arc(0, 0, radius, 0, TURN);
        context.fill();

        context.lineWidth = rim * 1.6;
        context.strokeStyle = '#2a2f5c';
        context.beginPath();
        context.arc(0, 0, radius + rim * 0.2, 0, TURN);
        context.stroke();
        const bulbs = 24;
        for (let bulb = 0; bulb < bulbs; bulb += 1) {
            const angle = (bulb / bulbs) * TURN;
            context.beginPath();
            context.arc(Math.cos(angle) * (radius + rim * 0.2), Math.sin(angle) * (radius + rim * 0.2), rim * 0.28, 0, TURN);
            context.fillStyle = bulb % 2 ? '#ffd166' : '#fff';
            context.fill();
        }
        context.restore();
    }

    #label({ start, size, option }, radius) {
        const context = this.#context;
        const room = radius * 0.67; // between the rim and the button in the middle
        const smallest = radius * 0.04;
        let height = Math.min(radius * 0.085, radius * size * 0.55);
        if (height < radius * 0.028) return; // a sliver: the list beside the wheel names it
        const font = () => { context.font = `600 ${height}px system-ui, "Segoe UI", sans-serif`; };
        context.save();
        font();
        const wide = context.measureText(option.label).width;
        if (wide > room && height > smallest) {
            height = Math.max(smallest, (height * room) / wide);
            font();
        }
        context.rotate(start + size / 2);
        context.textAlign = 'right';
        context.textBaseline = 'middle';
        context.fillStyle = isLight(option.color) ? '#1b1f3b' : '#fff';
        context.fillText(shorten(context, option.label, room * 1.01), radius * 0.93, 0);
        context.restore();
    }
}

function shorten(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    const letters = [...text];
    while (letters.length > 1 && context.measureText(`${letters.join('')}…`).width > width) letters.pop();
    return `${letters.join('').trimEnd()}…`;
}

function isLight(color) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    return 0.299 * red + 0.587 * green + 0.114 * blue > 150;
}
