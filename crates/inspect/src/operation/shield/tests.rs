use super::*;
use proptest::prelude::*;

fn check(server: Server, rows: &[(&str, Class)]) {
    for (request, expected) in rows {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(class(server, method, path), *expected, "{} {request}", server.name());
    }
}

#[test]
fn asking_is_told_from_running_at_each_kind_of_server() {
    use Class::*;
    check(
        Server::Vllm,
        &[
            ("POST /v1/chat/completions", Infer),
            ("POST /invocations", Infer),
            ("GET /v1/models", Introspect),
            ("HEAD /health", Introspect),
            ("POST /pause", Admin),
            ("GET /pause", Admin),
            ("POST /collective_rpc", Admin),
            ("POST /reset_prefix_cache", Admin),
            ("POST /update_weights", MutateWeights),
            ("POST /v1/load_lora_adapter", MutateWeights),
            ("POST /generate", Unknown),
            ("GET /v1/chat/completions", Unknown),
            ("POST /v1/files", Unknown),
        ],
    );
    check(
        Server::Sglang,
        &[
            ("POST /generate", Infer),
            ("GET /get_server_info", Admin),
            ("POST /flush_cache", Admin),
            ("GET /get_weights_by_name", MutateWeights),
            ("POST /update_weights_from_disk", MutateWeights),
            ("POST /update_weights_from_what_comes_next", MutateWeights),
        ],
    );
    check(
        Server::Tgi,
        &[
            ("POST /generate_stream", Infer),
            ("POST /", Infer),
            ("GET /info", Introspect),
            ("PUT /info", Unknown),
        ],
    );
    check(
        Server::Triton,
        &[
            ("POST /v2/models/m/infer", Infer),
            ("POST /v2/models/m/versions/1/generate_stream", Infer),
            ("POST /inference.GRPCInferenceService/ModelInfer", Infer),
            ("GET /v2/models/m/config", Introspect),
            ("POST /v2/repository/index", Admin),
            ("GET /v2/trace/setting", Admin),
            ("GET /v2/systemsharedmemory/region/r/status", Admin),
            ("POST /inference.GRPCInferenceService/CudaSharedMemoryRegister", Admin),
            ("POST /v2/repository/models/m/load", MutateWeights),
            ("POST /inference.GRPCInferenceService/RepositoryModelLoad", MutateWeights),
            ("POST /v2/models/m/n/infer", Unknown),
        ],
    );
    check(
        Server::Kserve,
        &[
            ("POST /v1/models/m:predict", Infer),
            ("POST /openai/v1/chat/completions", Infer),
            ("GET /v1/models/m", Introspect),
            ("POST /v2/repository/models/m/unload", MutateWeights),
            ("POST /v1/models/:predict", Unknown),
            ("POST /v1/models/m:predict/", Unknown),
        ],
    );
    check(
        Server::Ollama,
        &[
            ("POST /api/chat", Infer),
            ("GET /v1/models/llama3:8b", Introspect),
            ("POST /api/show", Introspect),
            ("POST /api/pull", MutateWeights),
            ("POST /api/push", MutateWeights),
            ("DELETE /api/delete", MutateWeights),
            ("HEAD /api/blobs/sha256:00", MutateWeights),
        ],
    );
    check(
        Server::LlamaCpp,
        &[
            ("POST /completion", Infer),
            ("GET /slots", Admin),
            ("POST /slots/0", Admin),
            ("POST /props", Admin),
            ("POST /lora-adapters", MutateWeights),
        ],
    );
    check(
        Server::TorchServe,
        &[
            ("POST /predictions/m/1.0", Infer),
            ("GET /ping", Introspect),
            ("POST /models", MutateWeights),
            ("PUT /models/m/1.0/set-default", MutateWeights),
            ("GET /token", Admin),
        ],
    );
    check(
        Server::Ray,
        &[
            ("POST /v1/chat/completions", Infer),
            ("GET /-/routes", Introspect),
            ("POST /api/jobs/", Admin),
            ("PUT /api/serve/applications/", Admin),
            ("POST /my-application", Unknown),
        ],
    );
    check(
        Server::Openai,
        &[
            ("POST /v1/responses", Infer),
            ("POST /v1/files", Admin),
            ("GET /v1/files/f/content", Admin),
            ("POST /v1/fine_tuning/jobs", MutateWeights),
            ("DELETE /v1/models/m", Unknown),
        ],
    );
    check(
        Server::Mcp,
        &[("POST /mcp", Infer), ("POST /messages/", Infer), ("PUT /mcp", Unknown), ("POST /", Unknown)],
    );
    check(
        Server::A2a,
        &[
            ("POST /", Infer),
            ("POST /tenant/message:send", Infer),
            ("POST /tasks/t:cancel", Infer),
            ("GET /.well-known/agent-card.json", Introspect),
            ("GET /tasks", Admin),
            ("POST /tasks/t/pushNotificationConfigs", Admin),
            ("POST /tasks/tasks/pushNotificationConfigs", Admin),
        ],
    );
}

#[test]
fn a_path_that_is_not_plain_is_unknown_to_every_server() {
    for path in [
        "",
        "*",
        "v1/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/./chat/completions",
        "/v1/x/../chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions//",
        "/v1/chat%2fcompletions",
        "/v1/chat/%63ompletions",
        "/v1/chat/completions;x",
        "/v1;x=y/chat/completions",
        "/v1/chat/completions?a",
        "/v1/chat/completions#a",
        "/v1\\chat\\completions",
        "/V1/chat/completions",
        "/v1/Chat/Completions",
        "/v1/chat/completions ",
        "/v1/chat/completions\0",
        "/v1/chat/complétions",
        "http://h/v1/chat/completions",
        "/v1/models/../../update_weights",
        "/predictions/a%2f..%2f..%2fmodels",
        "/tasks/%2e%2e",
    ] {
        assert_eq!(class_unless_told("POST", path), Class::Unknown, "{path}");
        assert_eq!(class_unless_told("GET", path), Class::Unknown, "{path}");
        assert_eq!(Server::known_by(path), None, "{path}");
    }
    let long = format!("/predictions/{}", "a".repeat(MAX_PATH));
    assert_eq!(class(Server::TorchServe, "POST", &long), Class::Unknown);
    assert_eq!(class(Server::Vllm, "post", "/v1/chat/completions"), Class::Unknown);
    assert_eq!(class(Server::Vllm, "", "/v1/chat/completions"), Class::Unknown);
}

#[test]
fn where_the_kind_is_not_told_the_gravest_holds() {
    for (request, expected) in [
        ("POST /v1/chat/completions", Class::Infer),
        ("POST /api/chat", Class::Infer),
        ("POST /api/jobs/", Class::Admin),
        ("POST /api/pull", Class::MutateWeights),
        ("POST /v1/files", Class::Admin),
        ("GET /models", Class::MutateWeights),
        ("POST /unheard-of", Class::Unknown),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(class_unless_told(method, path), expected, "{request}");
    }
    assert_eq!(Server::known_by("/update_weights"), Some(Server::Vllm));
    assert_eq!(Server::known_by("/api/chat"), Some(Server::Ollama));
    assert_eq!(Server::known_by("/v2/models/m/infer"), Some(Server::Kserve));
    assert_eq!(Server::known_by("/unheard-of"), None);
}

#[test]
fn names_are_read_back() {
    for server in Server::ALL {
        assert_eq!(Server::named(server.name()), Some(server));
    }
    for class in Class::ALL {
        assert_eq!(Class::named(class.name()), Some(class));
    }
    assert_eq!(Server::named("VLLM"), None);
}

/// Rows that could never match, or whose method is forgotten, would be silent holes of the tables.
#[test]
fn every_row_of_every_table_is_of_its_own_path() {
    for server in Server::ALL {
        let surface = server.surface();
        let path_of = |row: &str| row.replace("**", "x/y").replace('*', "x");
        for (lists, class_of) in [(surface.infer, Class::Infer), (surface.introspect, Class::Introspect)] {
            for row in lists.iter().flat_map(|list| *list) {
                let request = path_of(row);
                let (method, path) = request.split_once(' ').unwrap();
                assert_eq!(class(server, method, path), class_of, "{} {row}", server.name());
            }
        }
        for (list, class_of) in [(surface.admin, Class::Admin), (surface.weights, Class::MutateWeights)] {
            for row in list {
                assert!(row.starts_with('/'), "{row}");
                assert_eq!(class(server, "PATCH", &path_of(row)), class_of, "{} {row}", server.name());
            }
        }
    }
}

proptest! {
    /// Whatever a server makes of an odd path, undoing what is odd about a listed one never leaves it open.
    #[test]
    fn no_spelling_of_a_path_is_less_grave_than_the_path(
        server in prop::sample::select(Server::ALL.to_vec()), method in "GET|POST|PUT|DELETE|HEAD|get",
        pieces in prop::collection::vec(prop::sample::select(vec![
            "/", "//", "/.", "/..", "%2f", ";x", "%2e", "\\", "v1", "v2", "models", "api", "pull", "m", "infer",
            "repository", "load", "update_weights", "tasks", "predictions", "chat", "completions", "mcp",
        ]), 0..10),
    ) {
        let path = pieces.concat();
        let tidied = path.replace("%2f", "/").replace("%2e", ".").replace(";x", "").replace('\\', "/");
        let tidied = tidied.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>();
        let is_same = path.trim_start_matches('/') == tidied.join("/");
        let found = class(server, &method, &path);
        if found == Class::Infer && path != "/" && !path.ends_with('/') {
            prop_assert!(is_same && !path.starts_with("//") && !tidied.contains(&".."), "{path}");
        }
    }
}

#[test]
fn a_method_of_a2a_reaches_what_its_other_bindings_reach() {
    let grpc = |method: &str| class(Server::A2a, "POST", &format!("/lf.a2a.v1.A2AService/{method}"));
    for method in [
        "SendMessage",
        "SendStreamingMessage",
        "GetTask",
        "CancelTask",
        "SubscribeToTask",
        "ListTasks",
        "GetExtendedAgentCard",
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
    ] {
        assert_eq!(class_of_method(method).unwrap_or(Class::Infer), grpc(method), "{method}");
    }
    for (method, expected) in [
        ("message/send", None),
        ("tasks/get", None),
        ("tasks/list", Some(Class::Admin)),
        ("tasks/pushNotificationConfig/set", Some(Class::Admin)),
        ("agent/getAuthenticatedExtendedCard", Some(Class::Introspect)),
    ] {
        assert_eq!(class_of_method(method), expected, "{method}");
    }
}
