// Tokens of each request for the access log, read from the `usage` of the engine's answer (njs, inside Nginx).
//
// A stream tells its usage only to a client that asks for it. `forwarded` asks in every client's place, and `count` takes
// the additional chunk out again where the client did not ask: what clients see is what the engine would have sent them.
// Where a client leaves early, or refuses the usage, the numbers stay unknown (null).

const ASK = '"stream_options":{"include_usage":true},';
const TAIL = 2048; // bytes of an answer's end that are looked through; the usage is the last or nearly the last there
const NOTHING = Buffer.alloc(0);

// By request, because not every engine of njs gives each request a virtual machine of its own. Where one does, the last state
// is the right one, and its id need not be asked for with every token.
const states = {};
let latest = null;

function state(r) {
    if (latest === null || latest.request !== r) {
        const id = r.variables.request_id;
        latest = states[id] || (states[id] = {request: r, id: id, added: false, held: NOTHING, last: null, size: 0});
    }
    return latest;
}

function forget(its) {
    delete states[its.id];
    latest = null;
}

// Keep the answer's last TAIL bytes, or up to twice as many. Bytes copied into one place: this is done for every token.
function keep(its, data) {
    const piece = data.length > TAIL ? data.slice(data.length - TAIL) : data;
    if (its.last === null) {
        its.last = Buffer.alloc(2 * TAIL);
    } else if (its.size + piece.length > 2 * TAIL) {
        its.last.copyWithin(0, its.size - TAIL, its.size);
        its.size = TAIL;
    }
    its.size += piece.copy(its.last, its.size);
}

// The body for the engine: the client's own, or that with the question for the usage put in at its beginning.
function forwarded(r) {
    const text = r.requestText || '';
    try {
        // Parsed to look at it only, and only where it may be a stream; the text itself goes on, whatever its numbers are.
        if (/"stream"\s*:\s*true/.test(text)) {
            const body = JSON.parse(text);
            if (body.stream === true && body.stream_options === undefined) {
                state(r).added = true;
                const start = text.indexOf('{') + 1;
                return text.slice(0, start) + ASK + text.slice(start);
            }
        }
    } catch (error) {
        // Not JSON: the engine says so in its own words.
    }
    return text;
}

// The last usage counts: a client may ask for one with every chunk. In what a model says its quotation marks are escaped.
function note(r, text) {
    const last = text.slice(text.lastIndexOf('"usage"'));
    const prompt = /"prompt_tokens"\s*:\s*(\d+)/.exec(last), answer = /"completion_tokens"\s*:\s*(\d+)/.exec(last);
    if (prompt && answer) {
        r.variables.prompt_tokens = prompt[1];
        r.variables.answer_tokens = answer[1];
    }
}

// Whether an event is the chunk that only the usage is in.
function isUsage(event) {
    if (!event.startsWith('data:') || event.indexOf('"usage"') < 0) {
        return false;
    }
    const chunk = JSON.parse(event.slice(5));
    return Boolean(chunk.usage) && chunk.choices.length === 0;
}

// Called with each piece of an answer, which may end anywhere: within an event, a number or a character.
function count(r, data, flags) {
    const its = state(r);
    if (!its.added) {
        r.sendBuffer(data, flags);
        keep(its, data);
    } else {
        const all = its.held.length ? Buffer.concat([its.held, data]) : data;
        const end = flags.last ? all.length : all.lastIndexOf('\n\n') + (all.lastIndexOf('\n\n') < 0 ? 1 : 2);
        const whole = all.slice(0, end);
        its.held = Buffer.from(all.slice(end));
        r.sendBuffer(whole.includes('"usage"') ? without(r, whole.toString()) : whole, flags);
    }
    if (flags.last) {
        if (its.last !== null) {
            note(r, its.last.slice(0, its.size).toString());
        }
        forget(its);
    }
}

function without(r, text) {
    return text.split('\n\n').filter((event) => {
        try {
            if (isUsage(event)) {
                note(r, event);
                return false;
            }
        } catch (error) {
            // An event that is not JSON is passed on as it is.
        }
        return true;
    }).join('\n\n');
}

export default {forwarded, count};
