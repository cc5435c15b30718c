// What a request may hold (njs, inside Nginx): `chat` and `completion` read the body once, refuse what is not in the table of
// legal_tasks/serving/fields.py, and pass on what they have read, written anew: what was checked is what the engine gets.
//
// A name that stands twice, in escapes or behind a mark of another encoding reads as one value here, and only that goes on.

import fields from "fields.js";
import limits from "limits.js";

const MEDIA = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?;?$/i;
const ROLES = ['system', 'user', 'assistant'], SAID = ['role', 'content', 'name'];

function own(value, name) {
    return Object.prototype.hasOwnProperty.call(value, name);
}

function isObject(value) {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(r, status, code, message, param) {
    const type = status === 429 ? 'rate_limit_error' : 'invalid_request_error';
    const error = {message: message, type: type, param: param === undefined ? null : param, code: code};
    r.headersOut['Content-Type'] = 'application/json';
    if (status === 429) {
        r.headersOut['Retry-After'] = '2';
    }
    r.return(status, JSON.stringify({error: error}));
}

// What is wrong with a value, in words that go on after its name; '' where nothing is.
function wrongText(value, low, high) {
    if (typeof value !== 'string' || value.length < low || value.length > high) {
        return high === Infinity ? 'must be text that is not empty' : `must be text of ${low} to ${high} characters`;
    }
    return '';
}

function wrongTexts(value, low, high, most) {
    if (typeof value === 'string') {
        return wrongText(value, low, high);
    }
    if (!Array.isArray(value) || value.length < 1 || value.length > most) {
        return `must be text, or a list of 1 to ${most} texts`;
    }
    return value.map((one) => wrongText(one, low, high)).find((reason) => reason !== '') || '';
}

function wrongNumber(value, field) {
    const whole = field.kind === 'integer';
    const outside = typeof value !== 'number' || !(value >= field.low && value <= field.high);
    if (outside || (field.above && value === field.low) || (whole && !Number.isSafeInteger(value))) {
        return `must be a ${whole ? 'whole ' : ''}number ${field.above ? 'above ' : 'from '}${field.low} to ${field.high}`;
    }
    return '';
}

// Only these names, each given value of the type.
function wrongKeys(value, names, type) {
    if (!isObject(value)) {
        return 'must be an object';
    }
    const other = Object.keys(value).find((name) => names.indexOf(name) < 0);
    if (other !== undefined) {
        return `knows ${names.join(', ')} only, not ${JSON.stringify(other.slice(0, 64))}`;
    }
    const bad = names.find((name) => own(value, name) && value[name] !== null && typeof value[name] !== type);
    return bad === undefined ? '' : `: ${bad} must be a ${type}`;
}

function wrongContent(value) {
    if (typeof value === 'string') {
        return '';
    }
    if (!Array.isArray(value) || value.length < 1 || value.length > 64) {
        return 'content must be text, or a list of 1 to 64 parts of the type text';
    }
    const bad = value.find((part) => wrongKeys(part, ['type', 'text'], 'string') || part.type !== 'text' || !own(part, 'text')
        || part.text === null);
    return bad === undefined ? '' : 'content has parts of the type text only, {"type": "text", "text": ...}: no images, audio, video or files';
}

function wrongMessage(message) {
    if (!isObject(message)) {
        return 'must be objects with role and content';
    }
    // What an answer held comes back in the next question, with its empty fields.
    const other = Object.keys(message).find((name) => SAID.indexOf(name) < 0 && message[name] !== null);
    if (other !== undefined) {
        return `know role, content and name only, not ${JSON.stringify(other.slice(0, 64))}`;
    }
    if (ROLES.indexOf(message.role) < 0) {
        return `have a role of ${ROLES.join(', ')}`;
    }
    if (own(message, 'name') && message.name !== null && wrongText(message.name, 1, 64)) {
        return ': name must be text of 1 to 64 characters';
    }
    return wrongContent(message.content);
}

function said(message) {
    const out = {};
    SAID.filter((name) => own(message, name) && message[name] !== null).forEach((name) => { out[name] = message[name]; });
    return out;
}

const WRONG = {
    number: wrongNumber,
    integer: wrongNumber,
    boolean: (value) => typeof value === 'boolean' ? '' : 'must be true or false',
    user: (value, field) => wrongText(value, 0, field.high),
    model: (value) => wrongText(value, 1, 256),
    stop: (value, field) => wrongTexts(value, 1, field.high, 4),
    prompt: (value, field) => wrongTexts(value, 1, Infinity, field.high),
    stream_options: (value) => wrongKeys(value, ['include_usage', 'continuous_usage_stats'], 'boolean'),
    format: (value) => isObject(value) && value.type === 'text' && Object.keys(value).length === 1
        ? '' : 'must be {"type": "text"}: grammars and schemas are not taken',
    messages: (value, field) => {
        if (!Array.isArray(value) || value.length < 1 || value.length > field.high) {
            return `must be a list of 1 to ${field.high} messages`;
        }
        return value.map(wrongMessage).find((reason) => reason !== '') || '';
    },
    bias: (value, field) => {
        if (!isObject(value) || Object.keys(value).length > field.high) {
            return `must be an object of at most ${field.high} token ids`;
        }
        const bad = Object.keys(value).find((id) => !/^\d{1,9}$/.test(id) || wrongNumber(value[id], {low: -100, high: 100}));
        return bad === undefined ? '' : 'maps token ids to numbers from -100 to 100';
    },
};

// The body as an object of fields, or a string: why not.
function read(r) {
    const coding = r.headersIn['Content-Encoding'];
    if (coding && coding.toLowerCase() !== 'identity') {
        return {status: 415, code: 'unsupported_media_type', message: 'send the body as it is, without Content-Encoding'};
    }
    if (!MEDIA.test(r.headersIn['Content-Type'] || '')) {
        return {status: 415, code: 'unsupported_media_type', message: 'send JSON: Content-Type: application/json'};
    }
    const bytes = r.requestBuffer;
    if (!bytes || bytes.length === 0) {
        return {status: 400, code: 'bad_request', message: 'the request has no body'};
    }
    let text;
    try {
        text = new TextDecoder('utf-8', {fatal: true}).decode(bytes);
    } catch (error) {
        return {status: 400, code: 'bad_request', message: 'the body is not UTF-8'};
    }
    try {
        const body = JSON.parse(text);
        return isObject(body) ? {body: body} : {status: 400, code: 'bad_request', message: 'the body must be a JSON object'};
    } catch (error) {
        return {status: 400, code: 'bad_request', message: `the body is not JSON: ${error.message}`};
    }
}

// {body} as the engine gets it, or {status, code, message, param}.
function checked(r, body, kind) {
    const table = fields[kind], out = {};
    const names = Object.keys(body);
    for (let i = 0; i < names.length; i++) {
        const name = names[i], value = body[name];
        const proving = r.variables.key_id === fields.proofKey && own(fields.proof, name);
        const field = proving ? fields.proof[name] : own(table, name) ? table[name] : undefined;
        if (field === undefined) {
            const shown = name.slice(0, 64);
            return {status: 400, code: 'unknown_parameter', param: shown,
                message: `the field ${JSON.stringify(shown)} is not taken; those that are: ${Object.keys(table).join(', ')}`};
        }
        if (value === null) {
            continue;
        }
        const reason = WRONG[field.kind](value, field);
        if (reason) {
            const message = `${name}${reason.startsWith(':') ? '' : ' '}${reason}`;
            return {status: 400, code: 'invalid_value', param: name, message: message};
        }
        if (field.kind !== 'user' && field.kind !== 'format') {
            out[name] = name === 'messages' ? value.map(said) : value;
        }
    }
    const needed = kind === 'chat' ? 'messages' : 'prompt';
    if (!own(out, needed)) {
        return {status: 400, code: 'missing_required_parameter', param: needed, message: `${needed} is missing`};
    }
    if (own(out, 'model') && out.model !== fields.model) {
        const message = `there is no model ${out.model}: the model is ${fields.model}`;
        return {status: 404, code: 'model_not_found', param: 'model', message: message};
    }
    const defaults = fields.defaults[kind];
    Object.keys(defaults).forEach((name) => {
        if (!own(out, name)) {
            out[name] = defaults[name];
        }
    });
    if (out.n > 1 && out.temperature === 0) {
        const message = 'n above 1 needs a temperature above 0: all answers would be the same';
        return {status: 400, code: 'invalid_value', param: 'n', message: message};
    }
    if (own(out, 'stream_options') && out.stream !== true) {
        return {status: 400, code: 'invalid_value', param: 'stream_options', message: 'stream_options needs "stream": true'};
    }
    if (kind === 'chat' && out.top_logprobs > 0 && out.logprobs !== true) {
        return {status: 400, code: 'invalid_value', param: 'top_logprobs', message: 'top_logprobs needs "logprobs": true'};
    }
    return {body: out};
}

function answer(r, kind) {
    let found = read(r);
    if (found.body) {
        found = checked(r, found.body, kind);
    }
    if (found.body && r.variables.key_id !== fields.proofKey) {
        found = limits.tooMuch(found.body, kind) || limits.admit(r, found.body, kind) || found;
    }
    if (!found.body) {
        refuse(r, found.status, found.code, found.message, found.param);
        return;
    }
    // A stream tells its usage only to who asks: asked in the client's place, and taken out again by tokens.count.
    if (found.body.stream === true && !own(found.body, 'stream_options')) {
        found.body.stream_options = {include_usage: true};
        r.variables.usage_added = '1';
    }
    r.variables.checked_body = JSON.stringify(found.body);
    r.internalRedirect(`@${kind}`);
}

function chat(r) {
    answer(r, 'chat');
}

function completion(r) {
    answer(r, 'completion');
}

export default {chat, completion, settle: limits.settle};
