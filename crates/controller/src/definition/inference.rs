//! The definition of InferencePolicy.
//!
//! Leaves: a structural schema that refuses what `crds` refuses, as far as a schema and its rules can say it. Descriptions are
//! what `kubectl explain` prints.

use super::egress::{amount as money, list, object, patterns, rule, tool_conditions, whole};
use super::{Kind, crd};
use serde_json::{Value, json};

/// As the reader has them.
const MOST: usize = 64;
const MOST_CONSUMERS: usize = 10_000;
const MOST_INLINE: usize = 256 * 1024;
const MOST_EXPRESSION: usize = policy::cel::MAX_TEXT;

/// A number that is written as text.
const AMOUNT: &str = "^[1-9][0-9]{0,18}(Ki|Mi|Gi|Ti|k|M|G|T)?$";

/// The definition.
pub(super) fn inference_policy() -> Value {
    let about = "Who may ask a model that is behind a gateway of class cofferdam, what, how much, and what is looked at on the \
                 way in and out. Attached to a Gateway or a route of its own namespace, or to a part of one. The most \
                 specific policy that writes a section says it: rule of a route, route, listener, gateway. Without a \
                 policy that says who may ask, nobody may.";
    let mut spec = object(
        "What holds for its targets.",
        &["targetRefs"],
        json!({
            "targetRefs": list("What it is for.", 1, MOST, target()),
            "server": one_of("Which server answers. Left out: known by the path that is asked for.",
                &["vllm", "sglang", "tgi", "triton", "kserve", "ollama", "llamacpp", "torchserve", "ray", "mcp", "a2a", "openai"]),
            "authentication": authentication(),
            "rules": list("The first that is meant decides; none is: denied. Left out: whoever is known may ask for inference.",
                1, MOST, access_rule()),
            "limits": list("Each that holds is drawn on. Windows are minutes, hours and days of UTC.", 1, MOST, limit()),
            "waf": waf(),
            "guard": guard(),
            "responses": responses(),
            "mcp": mcp(),
            "a2a": a2a(),
            "storedObjects": one_of("Who may use what a server of models stores (answers, conversations, files) by its id: whoever knows the id, or the consumer who was given it, and then nobody may list them. Shared unless written.",
                &["Shared", "PerConsumer"]),
        }),
    );
    rule(
        &mut spec,
        "has(self.server) || has(self.authentication) || has(self.rules) || has(self.limits) || has(self.waf) || has(self.guard) || has(self.responses) || has(self.mcp) || has(self.a2a) || has(self.storedObjects)",
        "it says nothing of its targets",
    );
    let kind = Kind {
        kind: "InferencePolicy",
        plural: "inferencepolicies",
        singular: "inferencepolicy",
        short: "infp",
        scope: "Namespaced",
    };
    crd(kind, true, &whole(about, spec), &[])
}

fn text(about: &str, most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most, "description": about })
}

fn one_of(about: &str, words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words, "description": about })
}

fn names(about: &str) -> Value {
    list(about, 1, MOST, json!({ "type": "string", "minLength": 1, "maxLength": 512 }))
}

fn target() -> Value {
    let name = |about: &str| json!({ "type": "string", "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "description": about });
    object(
        "An object of the policy's namespace.",
        &["group", "kind", "name"],
        json!({
            "group": { "type": "string", "enum": ["gateway.networking.k8s.io"] },
            "kind": { "type": "string", "enum": ["Gateway", "HTTPRoute", "GRPCRoute"] },
            "name": name("Its name."),
            "sectionName": name("A listener of the gateway, or a named rule of the route. Left out: all of it."),
        }),
    )
}

fn authentication() -> Value {
    let digest = json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" });
    let key = object(
        "Keys of one consumer.",
        &["consumer", "sha256"],
        json!({
            "consumer": text("Its name.", 512),
            "groups": names("Groups that it is in."),
            "sha256": list("SHA-256 of each key in hexadecimal digits; several are valid at once, so that keys can be changed.", 1, 16, digest),
        }),
    );
    let domain = object(
        "A SPIFFE trust domain.",
        &["name", "ca"],
        json!({
            "name": { "type": "string", "maxLength": 255, "pattern": "^[a-z0-9._-]+$", "description": "For example example.org." },
            "ca": text("Certificates in PEM of who certifies ids of this domain.", MOST_INLINE),
        }),
    );
    let mtls = object(
        "Who shows a certificate with a SPIFFE id is known by the id.",
        &["trustDomains"],
        json!({ "trustDomains": list("Whose ids are taken.", 1, MOST, domain) }),
    );
    object(
        "By what somebody is known. A credential in the headers says it, else a certificate.",
        &[],
        json!({
            "anonymous": { "type": "boolean", "description": "Who shows nothing may ask too, as nobody. Who shows something wrong may not." },
            "apiKeys": list("Keys, as Authorization: Bearer, x-api-key, api-key or x-goog-api-key.", 1, MOST_CONSUMERS, key),
            "jwt": list("Issuers whose tokens are taken.", 1, MOST, issuer()),
            "mtls": mtls,
        }),
    )
}

fn issuer() -> Value {
    let duration =
        |about: &str| json!({ "type": "string", "pattern": "^[0-9]{1,8}[smhd]$", "description": about });
    let mut jwks = object(
        "Its keys: exactly one of inline and url.",
        &[],
        json!({
            "inline": text("A JWK set.", MOST_INLINE),
            "url": { "type": "string", "maxLength": 2048, "pattern": "^https://", "description": "Where the set is." },
            "ca": text("Certificates in PEM by which its server is known. Left out: those of the machine.", MOST_INLINE),
            "refresh": duration("From one fetch to the next; 5m if left out, 30s at least."),
            "stale": duration("How long keys serve that could not be fetched again; 1d if left out."),
        }),
    );
    rule(&mut jwks, "has(self.inline) != has(self.url)", "exactly one of inline and url is needed");
    rule(
        &mut jwks,
        "!has(self.inline) || !(has(self.ca) || has(self.refresh) || has(self.stale))",
        "ca, refresh and stale are for keys that are fetched from a url",
    );
    object(
        "An issuer.",
        &["name", "issuer", "audiences", "jwks"],
        json!({
            "name": text("What records call it.", 512),
            "issuer": text("Exactly what iss is.", 512),
            "audiences": names("One of them is exactly one of aud."),
            "jwks": jwks,
            "consumer": text("The claim with the consumer's name; dots lead into objects. Left out: sub.", 512),
            "groups": text("The claim with its groups: a list, or words of a text.", 512),
            "prefix": text("Stands before names of its consumers and groups, so that they are no other issuer's.", 512),
        }),
    )
}

fn access_rule() -> Value {
    let classes =
        json!({ "type": "string", "enum": ["infer", "introspect", "admin", "mutate-weights", "unknown"] });
    let conditions = tool_conditions("Only in an Allow, which then allows nothing of class unknown.");
    let mut access = object(
        "It is meant where all that is written fits.",
        &["action"],
        json!({
            "name": text("Its name, for records.", 253),
            "action": one_of("What it does.", &["Allow", "Deny"]),
            "consumers": patterns("Names of consumers."),
            "groups": patterns("One of the consumer's groups."),
            "classes": list("Left out: an Allow is of infer alone, a Deny of all.", 1, 5, classes),
            "operations": patterns("What is asked: chat, embeddings, tools/call."),
            "models": patterns("Models."),
            "tools": patterns("Tools that are called: an Allow wants all of them listed, a Deny one."),
            "when": { "type": "string", "maxLength": MOST_EXPRESSION,
                "description": "CEL over consumer, groups, claims, how, issuer, class, operation, model, tools, method, path, tokens. What cannot be told allows nothing, and denies." },
            "toolConditions": conditions,
        }),
    );
    rule(
        &mut access,
        "self.action == 'Allow' || !has(self.toolConditions)",
        "only a rule that allows can say what must hold of the arguments of tools",
    );
    access
}

fn limit() -> Value {
    let amount = |about: &str| {
        json!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": AMOUNT, "minimum": 1, "description": about })
    };
    let mut limit = object(
        "How much there may be.",
        &["per"],
        json!({
            "name": text("Its name; accounts keep what was used when limits change their order.", 253),
            "per": one_of("Whose account: of each consumer, or of all together.", &["consumer", "policy"]),
            "consumers": patterns("It holds for these. Left out: for all."),
            "groups": patterns("It holds for consumers in one of these groups."),
            "models": patterns("It counts what is asked of these. Left out: everything."),
            "requests": amount("Requests in the window."),
            "streams": { "type": "integer", "minimum": 1, "maximum": 1_000_000, "description": "Requests under way at once." },
            "inputTokens": amount("Tokens that go in, in the window."),
            "outputTokens": amount("Tokens that come out, in the window."),
            "tokens": amount("Both, in the window."),
            "money": money("What the tokens cost in the window, by the prices that the gateway was given (`--prices`), in their currency: for example \"5.00\". A call of a model that has no price is refused."),
            "window": one_of("In which time.", &["1m", "1h", "1d"]),
        }),
    );
    let counts = "(has(self.requests) || has(self.inputTokens) || has(self.outputTokens) || has(self.tokens) || has(self.money))";
    rule(&mut limit, &format!("{counts} || has(self.streams)"), "it limits nothing");
    rule(
        &mut limit,
        &format!("{counts} == has(self.window)"),
        "window is for all but streams, and they need it",
    );
    limit
}

fn mode() -> Value {
    one_of("Shadow records what is found and lets it pass.", &["Disabled", "Shadow", "Enforce"])
}

fn waf() -> Value {
    object(
        "The OWASP Core Rule Set.",
        &["mode"],
        json!({
            "mode": mode(),
            "profile": one_of("FieldAware (if left out) does not take what people write to a model for an attack; CRS looks at everything.", &["CRS", "FieldAware"]),
            "paranoia": { "type": "integer", "minimum": 1, "maximum": 4, "description": "1 if left out." },
            "inboundThreshold": { "type": "integer", "minimum": 1, "maximum": 1000, "description": "The anomaly score that blocks; 5 if left out." },
            "overBudget": one_of("What becomes of a request whose inspection takes more than it may; Deny if left out.", &["Deny", "Allow"]),
        }),
    )
}

fn guard() -> Value {
    let score = |about: &str| json!({ "type": "number", "minimum": 0, "maximum": 1, "description": about });
    let role = json!({ "type": "string", "enum": ["user", "tool", "operator"] });
    let mut guard = object(
        "The prompt guard.",
        &["mode"],
        json!({
            "mode": mode(),
            "annotateAt": score("From this score on it is told. Left out: as it was measured with."),
            "blockAt": score("From this score on it is not passed on."),
            "roles": list("Whose texts are looked at. Left out: user and tool.", 1, 3, role),
        }),
    );
    rule(
        &mut guard,
        "!has(self.annotateAt) || !has(self.blockAt) || self.annotateAt <= self.blockAt",
        "annotateAt is above blockAt",
    );
    guard
}

fn responses() -> Value {
    let action = || one_of("What to do where one is found.", &["Report", "Block", "Mask"]);
    let canaries = object(
        "Marks that must not leave.",
        &["values", "action"],
        json!({
            "values": list("The marks.", 1, 100, json!({ "type": "string", "minLength": 8, "maxLength": 256 })),
            "action": action(),
        }),
    );
    let mut leaks = object(
        "What is looked for.",
        &[],
        json!({ "secrets": action(), "personal": action(), "canaries": canaries, "systemPrompt": action() }),
    );
    rule(
        &mut leaks,
        "has(self.secrets) || has(self.personal) || has(self.canaries) || has(self.systemPrompt)",
        "at least one field is needed",
    );
    let held = json!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "pattern": AMOUNT, "minimum": 1, "maximum": 65536, "description": "How much of an answer is held back at most; 64Ki at most." });
    let uninspected = one_of(
        "What becomes of an answer that cannot be looked at; Deny unless written.",
        &["Deny", "Allow"],
    );
    let fields = json!({ "leaks": leaks, "holdBytes": held, "uninspected": uninspected });
    object("What is looked for in answers.", &["leaks"], fields)
}

fn mcp() -> Value {
    let sha256 = sha256("Records of tools/list have it.");
    let pin = object(
        "A tool, and the digest of its definition.",
        &["tool", "sha256"],
        json!({ "tool": text("Its name.", 256), "sha256": sha256 }),
    );
    let others = one_of(
        "What becomes of other tools; TrustOnFirstUse unless written.",
        &["TrustOnFirstUse", "Quarantine"],
    );
    let definitions = object(
        "What tools say of themselves stays what it was.",
        &[],
        json!({ "pins": list("Each tool once.", 1, 256, pin), "others": others }),
    );
    let fields = json!({ "origins": origins(), "definitions": definitions });
    let mut mcp = object("What holds for servers of the Model Context Protocol.", &[], fields);
    rule(&mut mcp, "has(self.origins) || has(self.definitions)", "at least one field is needed");
    mcp
}

fn a2a() -> Value {
    let others = one_of(
        "What becomes of a card that is not pinned; TrustOnFirstUse unless written.",
        &["TrustOnFirstUse", "Quarantine"],
    );
    let card = object(
        "What an agent says of itself stays what it was.",
        &[],
        json!({ "sha256": sha256("Of agent-card.json; records of it have it."), "others": others }),
    );
    let fields = json!({ "origins": origins(), "card": card });
    let mut a2a = object("What holds for agents that speak Agent2Agent.", &[], fields);
    rule(&mut a2a, "has(self.origins) || has(self.card)", "at least one field is needed");
    a2a
}

fn sha256(description: &str) -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": description })
}

fn origins() -> Value {
    let origin = json!({ "type": "string", "minLength": 1, "maxLength": 320, "pattern": "^https?://[a-z0-9.:\\[\\]-]+$" });
    list("Which pages of a browser may ask, as browsers write them. Left out: none.", 1, 64, origin)
}
