//! What the chained CNI plugin answers, apart from its program: so that whatever reads what others said can be given anything.

pub mod plugin;
