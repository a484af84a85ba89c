//! Kubernetes objects to one [`policy::PolicySet`], with diagnostics; and a policy set to the compiled tables.
//!
//! Enters: the objects as `crds` read them. Leaves: a policy set that every enforcement point judges against,
//! and a diagnostic for whatever was ignored, repaired, closed or looks unintended.
//! Guarantees: pure and deterministic; nothing that is known but could not be applied ever means allow.
//! Does not: read files, decide accesses (`policy`) or touch packets (`datapath`).

