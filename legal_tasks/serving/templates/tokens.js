// What the engine answers (njs, inside Nginx): tokens of each request for the access log, read from the answer's `usage`, and
// its errors in the one form that clients know.
//
// A stream tells its usage only to a client that asks for it. requests.js asks in every client's place, and `count` takes the
// additional chunk out again where the client did not ask: what clients see is what the engine would have sent them.
// Where a client leaves early, or refuses the usage, the numbers stay unknown (null).

import limits from "limits.js";

const CODES = {'400': 'bad_request', '404': 'not_found', '413': 'request_too_large', '422': 'bad_request', '429': 'engine_busy', '503': 'engine_busy'};
const SAID = 1000; // characters of an engine's message that are passed on
const TAIL = 2048; // bytes of an answer's end that are looked through; the usage is the last or nearly the last there
const NOTHING = Buffer.alloc(0);

// By request, because not every engine of njs gives each request a virtual machine of its own. Where one does, the last state
// is the right one, and its id need not be asked for with every token.
const states = {};
let latest = null;

function state(r) {
    if (latest === null || latest.request !== r) {
        const id = r.variables.request_id;
        latest = states[id] || (states[id] = {
            request: r, id: id, failed: r.status >= 400, added: r.variables.usage_added === '1', held: NOTHING, last: null, size: 0,
        });
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
    if (its.failed) {
        its.held = Buffer.concat([its.held, data]);
        if (flags.last) {
            r.sendBuffer(Buffer.from(failure(r.status, its.held.toString())), flags);
        }
    } else if (!its.added) {
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
        limits.settle(r); // the engine is done with it, though its client may still be reading
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

// Called before an answer's first byte: what `count` will write in an error's place has another length.
function head(r) {
    if (r.status >= 400) {
        delete r.headersOut['Content-Length'];
        r.headersOut['Content-Type'] = 'application/json';
        if (r.status >= 500 || r.status === 429) {
            r.headersOut['Retry-After'] = '5';
        }
    }
}

// An engine's words to {message, param, code}: nested, flat, as FastAPI's `detail`, or no JSON at all.
function words(text) {
    let found;
    try {
        found = JSON.parse(text);
    } catch (error) {
        return {message: text};
    }
    const error = typeof found === 'object' && found !== null && found.error !== undefined ? found.error : found;
    if (typeof error !== 'object' || error === null) {
        return {message: String(error)};
    }
    const told = error.message !== undefined ? error.message : error.detail;
    return {message: typeof told === 'string' ? told : JSON.stringify(told === undefined ? error : told), param: error.param, code: error.code};
}

// Of a fault of its own an engine tells things of the machine: those stay in its log.
function failure(status, text) {
    const own = status < 500 ? words(text) : {message: 'the engine failed at this request; try again'};
    return JSON.stringify({error: {
        message: own.message.slice(0, SAID) || `the engine answers ${status}`,
        type: status < 500 ? 'invalid_request_error' : 'server_error',
        param: typeof own.param === 'string' ? own.param : null,
        code: typeof own.code === 'string' ? own.code : CODES[status] || (status < 500 ? 'bad_request' : 'engine_error'),
    }});
}

export default {head, count};
