//! What kinds of servers have, by class.
//!
//! Sources: vLLM `docs/usage/security.md`; Triton's and KServe's protocol documents; Ollama `docs/api.md`; the OpenAPI
//! document of OpenAI; the revisions of MCP and of A2A. Of SGLang (`srt/entrypoints/http_server.py`), TGI
//! (`router/src/server.rs`), llama.cpp (`tools/server/README.md`), TorchServe (`docs/management_api.md`) and Ray (its REST
//! API) it is what is generally known, not compared with one release. What is not listed is unknown, thus never asking.

/// What one kind of server has. Rows of what may be asked are `METHOD /path`; those of the rest are paths, with any method.
/// `*` is some segment or the rest of one, `**` at the end whatever follows.
pub(super) struct Surface {
    pub(super) infer: &'static [&'static [&'static str]],
    pub(super) introspect: &'static [&'static [&'static str]],
    pub(super) admin: &'static [&'static str],
    pub(super) weights: &'static [&'static str],
}

/// As OpenAI has it, and servers of models too.
const ASK: &[&str] =
    &["POST /v1/chat/completions", "POST /v1/completions", "POST /v1/responses", "POST /v1/embeddings"];
const SPEECH: &[&str] =
    &["POST /v1/audio/transcriptions", "POST /v1/audio/translations", "POST /v1/audio/speech"];
/// As Anthropic has it.
const MESSAGES: &[&str] = &["POST /v1/messages", "POST /v1/messages/count_tokens"];
const RANK: &[&str] =
    &["POST /rerank", "POST /v1/rerank", "POST /v2/rerank", "POST /score", "POST /v1/score"];
const TOKENS: &[&str] = &["POST /tokenize", "POST /detokenize"];
const MODELS: &[&str] = &["GET /v1/models", "GET /v1/models/*"];
const HEALTH: &[&str] = &["GET /health", "GET /ping", "GET /metrics", "GET /version"];
const MANUAL: &[&str] = &["GET /docs", "GET /redoc", "GET /openapi.json"];

/// KServe's second protocol, which Triton has too.
const INFER_V2: &[&str] = &[
    "POST /v2/models/*/infer",
    "POST /v2/models/*/versions/*/infer",
    "POST /inference.GRPCInferenceService/ModelInfer",
    "POST /inference.GRPCInferenceService/ModelStreamInfer",
];
const ABOUT_V2: &[&str] = &[
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /v2/models",
    "GET /v2/models/*",
    "GET /v2/models/*/ready",
    "GET /v2/models/*/versions/*",
    "GET /v2/models/*/versions/*/ready",
    "POST /inference.GRPCInferenceService/ServerLive",
    "POST /inference.GRPCInferenceService/ServerReady",
    "POST /inference.GRPCInferenceService/ServerMetadata",
    "POST /inference.GRPCInferenceService/ModelReady",
    "POST /inference.GRPCInferenceService/ModelMetadata",
    "POST /grpc.health.v1.Health/Check",
];
const INFER_V1: &[&str] = &["POST /v1/models/*:predict", "POST /v1/models/*:explain"];
/// Loading takes files of a model with it, and with those code.
const LOAD_V2: &[&str] = &[
    "/v2/repository/models/**",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
];

pub(super) const VLLM: Surface = Surface {
    infer: &[
        ASK,
        SPEECH,
        MESSAGES,
        RANK,
        TOKENS,
        &[
            "POST /v1/chat/completions/batch",
            "POST /v1/responses/*/cancel",
            "GET /v1/realtime",
            "POST /v2/embed",
            "POST /inference/v1/generate",
            "POST /invocations",
            "POST /pooling",
            "POST /classify",
            "POST /generative_scoring",
        ],
    ],
    introspect: &[MODELS, HEALTH, MANUAL, &["GET /load", "POST /ping", "GET /v1/responses/*"]],
    admin: &[
        "/pause",
        "/resume",
        "/is_paused",
        "/scale_elastic_ep",
        "/is_scaling_elastic_ep",
        "/abort_requests",
        "/collective_rpc",
        "/sleep",
        "/wake_up",
        "/is_sleeping",
        "/server_info",
        "/tokenizer_info",
        "/reset_*",
        "/start_profile",
        "/stop_profile",
    ],
    weights: &[
        "/init_weight_transfer_engine",
        "/start_weight_update",
        "/update_weights",
        "/finish_weight_update",
        "/get_world_size",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
    ],
};

pub(super) const SGLANG: Surface = Surface {
    infer: &[
        ASK,
        SPEECH,
        MESSAGES,
        RANK,
        TOKENS,
        &[
            "POST /generate",
            "POST /encode",
            "POST /classify",
            "POST /v1/classify",
            "POST /v1/tokenize",
            "POST /v1/detokenize",
            "POST /invocations",
            "POST /vertex_generate",
            "POST /api/chat",
            "POST /api/generate",
        ],
    ],
    introspect: &[
        MODELS,
        HEALTH,
        MANUAL,
        &[
            "GET /health_generate",
            "GET /get_model_info",
            "GET /model_info",
            "GET /get_load",
            "GET /v1/loads",
            "GET /api/tags",
            "GET /api/version",
        ],
    ],
    // What the server was started with has its keys in it.
    admin: &[
        "/get_server_info",
        "/server_info",
        "/get_server_args",
        "/flush_cache",
        "/clear_hicache_storage_backend",
        "/hicache/**",
        "/start_profile",
        "/stop_profile",
        "/freeze_gc",
        "/slow_down",
        "/start_expert_distribution_record",
        "/stop_expert_distribution_record",
        "/dump_expert_distribution_record",
        "/release_memory_occupation",
        "/resume_memory_occupation",
        "/pause_generation",
        "/continue_generation",
        "/open_session",
        "/close_session",
        "/configure_logging",
        "/abort_request",
        "/set_internal_state",
        "/set_trace_level",
        "/get_internal_state",
    ],
    weights: &[
        "/update_weights",
        "/update_weights_from_*",
        "/update_weight_version",
        "/get_weights_by_name",
        "/init_weights_*",
        "/destroy_weights_update_group",
        "/send_weights_to_remote_instance",
        "/get_remote_instance_transfer_engine_info",
        "/remote_instance_transfer_engine_info",
        "/weights_checker",
        "/load_lora_adapter",
        "/load_lora_adapter_from_*",
        "/unload_lora_adapter",
    ],
};

pub(super) const TGI: Surface = Surface {
    infer: &[
        &[
            "POST /",
            "POST /generate",
            "POST /generate_stream",
            "POST /v1/chat/completions",
            "POST /v1/completions",
            "POST /chat_tokenize",
            "POST /invocations",
            "POST /vertex",
        ],
        TOKENS,
    ],
    introspect: &[MODELS, HEALTH, MANUAL, &["GET /", "GET /info"]],
    admin: &[],
    weights: &[],
};

pub(super) const TRITON: Surface = Surface {
    infer: &[
        INFER_V2,
        ASK,
        &[
            "POST /v2/models/*/generate",
            "POST /v2/models/*/generate_stream",
            "POST /v2/models/*/versions/*/generate",
            "POST /v2/models/*/versions/*/generate_stream",
        ],
    ],
    introspect: &[
        ABOUT_V2,
        MODELS,
        &[
            "GET /metrics",
            "GET /v2/models/stats",
            "GET /v2/models/*/config",
            "GET /v2/models/*/stats",
            "GET /v2/models/*/versions/*/config",
            "GET /v2/models/*/versions/*/stats",
            "POST /inference.GRPCInferenceService/ModelConfig",
            "POST /inference.GRPCInferenceService/ModelStatistics",
        ],
    ],
    admin: &[
        "/v2/repository/index",
        "/v2/trace/setting",
        "/v2/models/*/trace/setting",
        "/v2/models/*/versions/*/trace/setting",
        "/v2/logging",
        "/v2/systemsharedmemory/**",
        "/v2/cudasharedmemory/**",
        "/v2/models/*/systemsharedmemory/**",
        "/v2/models/*/cudasharedmemory/**",
        "/inference.GRPCInferenceService/RepositoryIndex",
        "/inference.GRPCInferenceService/TraceSetting",
        "/inference.GRPCInferenceService/LogSettings",
        "/inference.GRPCInferenceService/SystemSharedMemory*",
        "/inference.GRPCInferenceService/CudaSharedMemory*",
    ],
    weights: LOAD_V2,
};

pub(super) const KSERVE: Surface = Surface {
    infer: &[
        INFER_V1,
        INFER_V2,
        ASK,
        RANK,
        &[
            "POST /openai/v1/chat/completions",
            "POST /openai/v1/completions",
            "POST /openai/v1/embeddings",
            "POST /openai/v1/rerank",
        ],
    ],
    introspect: &[ABOUT_V2, MODELS, &["GET /", "GET /metrics", "GET /openai/v1/models"]],
    admin: &["/v2/repository/index", "/inference.GRPCInferenceService/RepositoryIndex"],
    weights: LOAD_V2,
};

pub(super) const OLLAMA: Surface = Surface {
    infer: &[
        ASK,
        MESSAGES,
        &[
            "POST /api/generate",
            "POST /api/chat",
            "POST /api/embed",
            "POST /api/embeddings",
            "POST /v1/images/generations",
        ],
    ],
    introspect: &[MODELS, &["GET /", "GET /api/tags", "GET /api/ps", "GET /api/version", "POST /api/show"]],
    admin: &["/api/me", "/api/signout", "/api/user/**", "/api/experimental/**"],
    weights: &["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/**"],
};

pub(super) const LLAMACPP: Surface = Surface {
    infer: &[
        ASK,
        MESSAGES,
        TOKENS,
        &[
            "POST /completion",
            "POST /completions",
            "POST /chat/completions",
            "POST /infill",
            "POST /embedding",
            "POST /embeddings",
            "POST /rerank",
            "POST /reranking",
            "POST /v1/rerank",
            "POST /v1/reranking",
            "POST /apply-template",
            "POST /api/chat",
        ],
    ],
    introspect: &[
        MODELS,
        &["GET /health", "GET /v1/health", "GET /metrics", "GET /models", "GET /api/tags", "POST /api/show"],
    ],
    // Slots show what others asked; properties can be set.
    admin: &["/props", "/slots", "/slots/**", "/cors-proxy", "/tools", "/tools/**"],
    weights: &["/lora-adapters", "/models/load", "/models/unload"],
};

pub(super) const TORCHSERVE: Surface = Surface {
    infer: &[
        INFER_V1,
        INFER_V2,
        &[
            "POST /predictions/*",
            "POST /predictions/*/*",
            "PUT /predictions/*",
            "PUT /predictions/*/*",
            "POST /explanations/*",
            "POST /explanations/*/*",
            "POST /wfpredict/*",
            "POST /org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
            "POST /org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions",
            "POST /org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions2",
        ],
    ],
    introspect: &[
        ABOUT_V2,
        &[
            "GET /ping",
            "GET /metrics",
            "OPTIONS /",
            "GET /api-description",
            "POST /org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping",
        ],
    ],
    admin: &["/token", "/workflows", "/workflows/**"],
    // Registering takes a URL that the server loads code from.
    weights: &["/models", "/models/**", "/org.pytorch.serve.grpc.management.ManagementAPIsService/*"],
};

pub(super) const RAY: Surface = Surface {
    // Other paths are whatever an application has.
    infer: &[ASK, SPEECH, &["POST /v1/score", "POST /v1/tokenize", "POST /v1/detokenize"]],
    introspect: &[
        MODELS,
        &[
            "GET /-/healthz",
            "GET /-/routes",
            "POST /ray.serve.RayServeAPIService/Healthz",
            "POST /ray.serve.RayServeAPIService/ListApplications",
        ],
    ],
    // A job is code that runs.
    admin: &[
        "/api/jobs",
        "/api/jobs/**",
        "/api/job_agent/**",
        "/api/serve/**",
        "/api/packages/**",
        "/api/v0/**",
        "/api/actors/**",
        "/api/cluster_status",
        "/api/snapshot",
        "/api/data/**",
        "/nodes",
        "/nodes/**",
        "/nodes_view",
        "/logical/**",
        "/logs/**",
        "/log_proxy",
        "/events",
        "/worker/**",
        "/task/**",
        "/memory_profile",
    ],
    weights: &[],
};

pub(super) const OPENAI: Surface = Surface {
    infer: &[
        ASK,
        SPEECH,
        MESSAGES,
        &[
            "POST /v1/responses/compact",
            "POST /v1/responses/input_tokens",
            "POST /v1/responses/*/cancel",
            "POST /v1/moderations",
            "POST /v1/images/generations",
            "POST /v1/images/edits",
            "POST /v1/images/variations",
            "POST /v1/rerank",
            "POST /v1/score",
            "GET /v1/realtime",
        ],
    ],
    introspect: &[MODELS, &["GET /health", "GET /v1/responses/*", "GET /v1/responses/*/input_items"]],
    // What the server keeps, and what it does with that later.
    admin: &[
        "/v1/files",
        "/v1/files/**",
        "/v1/uploads",
        "/v1/uploads/**",
        "/v1/batches",
        "/v1/batches/**",
        "/v1/vector_stores",
        "/v1/vector_stores/**",
        "/v1/containers",
        "/v1/containers/**",
        "/v1/assistants",
        "/v1/assistants/**",
        "/v1/threads",
        "/v1/threads/**",
        "/v1/conversations",
        "/v1/conversations/**",
        "/v1/evals",
        "/v1/evals/**",
        "/v1/skills",
        "/v1/skills/**",
        "/v1/organization/**",
    ],
    weights: &["/v1/fine_tuning/**", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"],
};

pub(super) const MCP: Surface = Surface {
    infer: &[&[
        "POST /mcp",
        "GET /mcp",
        "DELETE /mcp",
        "POST /mcp/",
        "GET /mcp/",
        "DELETE /mcp/",
        "GET /sse",
        "POST /message",
        "POST /messages",
        "POST /messages/",
    ]],
    introspect: &[&[
        "GET /.well-known/oauth-protected-resource",
        "GET /.well-known/oauth-protected-resource/mcp",
        "GET /.well-known/oauth-authorization-server",
    ]],
    admin: &[],
    weights: &[],
};

pub(super) const A2A: Surface = Surface {
    infer: &[&[
        "POST /",
        "POST /message:send",
        "POST /message:stream",
        "POST /*/message:send",
        "POST /*/message:stream",
        "GET /tasks/*",
        "POST /tasks/*:cancel",
        "GET /tasks/*:subscribe",
        "POST /tasks/*:subscribe",
        "GET /*/tasks/*",
        "POST /*/tasks/*:cancel",
        "GET /*/tasks/*:subscribe",
        "POST /*/tasks/*:subscribe",
        "POST /lf.a2a.v1.A2AService/SendMessage",
        "POST /lf.a2a.v1.A2AService/SendStreamingMessage",
        "POST /lf.a2a.v1.A2AService/GetTask",
        "POST /lf.a2a.v1.A2AService/CancelTask",
        "POST /lf.a2a.v1.A2AService/SubscribeToTask",
    ]],
    introspect: &[&[
        "GET /.well-known/agent-card.json",
        "GET /.well-known/agent.json",
        "GET /extendedAgentCard",
        "GET /*/extendedAgentCard",
        "POST /lf.a2a.v1.A2AService/GetExtendedAgentCard",
    ]],
    // Lists have everybody's tasks; what is pushed goes wherever the asker says.
    admin: &[
        "/tasks",
        "/*/tasks",
        "/tasks/*/pushNotificationConfigs",
        "/tasks/*/pushNotificationConfigs/**",
        "/*/tasks/*/pushNotificationConfigs",
        "/*/tasks/*/pushNotificationConfigs/**",
        "/lf.a2a.v1.A2AService/ListTasks",
        "/lf.a2a.v1.A2AService/*TaskPushNotificationConfig",
        "/lf.a2a.v1.A2AService/*TaskPushNotificationConfigs",
    ],
    weights: &[],
};
