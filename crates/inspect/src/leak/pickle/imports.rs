//! Which imports of a pickle are harmless, and which exist only to do harm.
//!
//! Enters: module and name as a pickle has them. Leaves: a [`Threat`]. Guarantees: harmless is only what is listed, by its
//! whole name. Does not: know every library: what is on no list is suspicious.
//! Sources: what `torch.save` and `numpy` write; the modules of the Python library that run code, programs or connections.

/// How bad an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Threat {
    /// Data is made of it and nothing else.
    Harmless,
    /// On no list.
    Suspicious,
    /// It runs code or programs, opens files or connections, or reaches what does; or nobody can tell what it is.
    Malicious,
}

/// Module, and the names of it that are harmless.
const HARMLESS: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict", "defaultdict", "Counter", "deque"]),
    ("builtins", BUILTINS),
    ("__builtin__", BUILTINS),
    ("copyreg", &["_reconstructor"]),
    ("copy_reg", &["_reconstructor"]),
    ("_codecs", &["encode"]),
    ("datetime", &["date", "datetime", "time", "timedelta", "timezone"]),
    ("decimal", &["Decimal"]),
    ("argparse", &["Namespace"]),
    ("numpy", &["dtype", "ndarray", "float32", "float64", "int64", "int32", "bool_"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("torch", TORCH),
    (
        "torch._utils",
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_meta_tensor_no_storage",
        ],
    ),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch.nn.parameter", &["Parameter"]),
    ("torch.storage", &["UntypedStorage", "TypedStorage"]),
    ("torch.serialization", &["_get_layout"]),
];

const BUILTINS: &[&str] = &[
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
];

const TORCH: &[&str] = &[
    "Size",
    "device",
    "Tensor",
    "BFloat16Storage",
    "BoolStorage",
    "ByteStorage",
    "CharStorage",
    "DoubleStorage",
    "FloatStorage",
    "HalfStorage",
    "IntStorage",
    "LongStorage",
    "ShortStorage",
    "UntypedStorage",
    "bfloat16",
    "bool",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "uint8",
    "float8_e4m3fn",
    "float8_e5m2",
];

/// Modules of which nothing belongs into a pickle, wherever they are reached through.
const MALICIOUS_MODULES: &[&str] = &[
    "os",
    "posix",
    "nt",
    "subprocess",
    "_posixsubprocess",
    "sys",
    "runpy",
    "webbrowser",
    "socket",
    "_socket",
    "ssl",
    "shutil",
    "pty",
    "commands",
    "importlib",
    "imp",
    "pkgutil",
    "zipimport",
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "types",
    "code",
    "codeop",
    "ctypes",
    "_ctypes",
    "cffi",
    "asyncio",
    "multiprocessing",
    "_thread",
    "threading",
    "concurrent",
    "signal",
    "requests",
    "urllib",
    "urllib2",
    "urllib3",
    "http",
    "httplib",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "telnetlib",
    "xmlrpc",
    "bdb",
    "pdb",
    "cProfile",
    "profile",
    "trace",
    "timeit",
    "doctest",
    "pydoc",
    "pip",
    "ensurepip",
    "venv",
    "setuptools",
    "distutils",
    "idlelib",
    "lib2to3",
    "operator",
    "_operator",
    "inspect",
    "gc",
    "popen2",
    "platform",
    "tempfile",
    "io",
    "_io",
    "fileinput",
    "sqlite3",
    "paramiko",
];

/// Single names, of modules that have harmless ones too.
const MALICIOUS_NAMES: &[(&str, &[&str])] = &[
    ("builtins", BUILTIN_GADGETS),
    ("__builtin__", BUILTIN_GADGETS),
    ("functools", &["partial", "reduce"]),
    ("torch", &["load", "hub", "jit", "compile"]),
    ("torch.storage", &["_load_from_bytes"]),
    ("torch.serialization", &["load"]),
    ("torch.jit", &["load"]),
    ("torch.hub", &["load"]),
    ("torch.utils", &["cpp_extension"]),
    ("numpy", &["load", "f2py"]),
    ("numpy.testing._private.utils", &["runstring"]),
    ("numpy.f2py.crackfortran", &["getlincoef", "_eval_length"]),
];

const BUILTIN_GADGETS: &[&str] = &[
    "__import__",
    "apply",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "execfile",
    "exit",
    "file",
    "getattr",
    "globals",
    "help",
    "input",
    "locals",
    "map",
    "filter",
    "open",
    "quit",
    "setattr",
    "super",
    "type",
    "vars",
];

/// How bad it is to import this.
pub fn threat(module: &str, name: &str) -> Threat {
    let lists = |list: &[(&str, &[&str])], name: &str| {
        list.iter().any(|(known, names)| *known == module && names.contains(&name))
    };
    // A name with dots reaches into what it names first.
    let first = name.split('.').next().unwrap_or(name);
    let mut parts = module.split('.').chain(name.split('.').rev().skip(1));
    match () {
        () if parts.any(|part| MALICIOUS_MODULES.contains(&part)) => Threat::Malicious,
        () if lists(MALICIOUS_NAMES, first) => Threat::Malicious,
        // No class is found by such a name; its insides are.
        () if name.contains('.') && name.contains("__") => Threat::Malicious,
        () if lists(HARMLESS, name) => Threat::Harmless,
        () => Threat::Suspicious,
    }
}
