// How much of the engine a request may ask for, and a key may have (njs, inside Nginx); legal_tasks/serving/limits.py says why, and
// has the numbers.
//
// Debian's njs (0.7.9) has no memory that requests share: js_shared_dict_zone came with 0.8.0. So a key's sum stands in the name
// of an empty file, WORKER.KEY.TOKENS. A worker does one thing at a time and writes its own names only, so nothing comes between
// reading a name and writing the next one; and what a killed worker has left counts no more, because its process is gone.

import fs from "fs";
import fields from "fields.js";

const its = fields.limits;

function own(value, name) {
    return Object.prototype.hasOwnProperty.call(value, name);
}

// {answers, each, words}: how many a request asks for, of how many tokens at most, and how it says so.
function asked(body, kind) {
    const named = ['max_tokens', 'max_completion_tokens'].filter((name) => own(body, name));
    const each = named.length ? Math.min(its.context, Math.max.apply(null, named.map((name) => body[name]))) : its.context;
    const prompts = Array.isArray(body.prompt) ? body.prompt.length : 1, n = own(body, 'n') ? body.n : 1;
    const length = named.length ? named.join(', ') : 'max_tokens (left out: the context)';
    return {
        answers: n * prompts, each: each, param: named.length ? named[named.length - 1] : 'max_tokens',
        words: kind === 'chat' ? `n × ${length} = ${n} × ${each}` : `n × prompt × ${length} = ${n} × ${prompts} × ${each}`,
    };
}

// Why a request asks for more than any may, or null.
function tooMuch(body, kind) {
    const want = asked(body, kind), product = want.answers * want.each;
    if (product <= its.request) {
        return null;
    }
    const message = `${want.words} = ${product} tokens, of which one request may ask for ${its.request}: ask for fewer answers, or `
        + `for shorter ones (${want.param})`;
    return {status: 400, code: 'invalid_value', param: want.param, message: message};
}

// Whether a worker lives: after a reload the one of the earlier configuration goes on until its last answer is given.
function lives(worker) {
    try {
        fs.accessSync(`/proc/${worker}`);
        return true;
    } catch (error) {
        return false;
    }
}

// Tokens under way: `total` of all keys, `own` of this key, `here` of this key at this worker, in the file of that name.
function underWay(r) {
    const found = {total: 0, own: 0, here: 0, name: null}, here = r.variables.pid, key = r.variables.key_id, known = {};
    known[here] = true;
    fs.readdirSync(its.folder).forEach((name) => {
        const part = name.split('.'), worker = part[0], tokens = Number(part[2]);
        known[worker] = known[worker] === undefined ? lives(worker) : known[worker];
        if (!known[worker]) {
            return;
        }
        found.total += tokens;
        if (part[1] === key) {
            found.own += tokens;
            if (worker === here) {
                found.here = tokens;
                found.name = name;
            }
        }
    });
    return found;
}

// A name of 0 tokens stays, because renaming costs less than making and removing; the gateway removes those of ended workers.
function write(r, name, tokens) {
    const place = `${its.folder}/${r.variables.pid}.${r.variables.key_id}.${Math.max(0, tokens)}`;
    if (name === null) {
        fs.writeFileSync(place, '');
    } else {
        fs.renameSync(`${its.folder}/${name}`, place);
    }
}

// As many tokens as a request counts for: answers of a whole context, in part for short ones.
function counted(want) {
    return Math.min(its.total, want.answers * Math.min(its.context, Math.max(its.whole * want.each, Math.ceil(its.context / its.least))));
}

// How many tokens more a key may have under way.
function room(now) {
    const ratio = its.keyShare / (1 - its.keyShare);
    return now.own === 0 ? its.total - now.total : Math.floor((ratio * (its.total - now.total) - now.own) / (1 + ratio) + 1e-6);
}

// Count a request in, or say why it has to wait.
function admit(r, body, kind) {
    const want = asked(body, kind), tokens = counted(want);
    try {
        const now = underWay(r), most = Math.max(0, room(now));
        if (tokens > most) {
            const message = `the engine is busy: this request counts as ${(tokens / its.context).toFixed(1)} answers of a whole context, `
                + `and this key may have ${(most / its.context).toFixed(1)} more under way now; wait and try again, or ask for fewer `
                + 'answers or shorter ones (n, prompt, max_tokens)';
            return {status: 429, code: 'engine_busy', message: message};
        }
        write(r, now.name, now.here + tokens);
        r.variables.admitted_tokens = String(tokens);
    } catch (error) {
        r.error(`what is under way cannot be counted, and the request is let in: ${error.message}`);
    }
    r.variables.asked_tokens = String(want.answers * want.each);
    return null;
}

// Count a request out, once: when the engine has said its last word, or else when Nginx writes the log, which it does however
// a request ends. Gives nothing.
function settle(r) {
    const tokens = Number(r.variables.admitted_tokens);
    if (!(tokens > 0)) {
        return '';
    }
    r.variables.admitted_tokens = '';
    try {
        const now = underWay(r);
        if (now.name !== null) {
            write(r, now.name, now.here - tokens);
        }
    } catch (error) {
        r.error(`what has ended cannot be counted out: ${error.message}`);
    }
    return '';
}

export default {tooMuch, admit, settle};
