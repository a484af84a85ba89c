//! A whole body, changed in a few places and nowhere else: leaks masked ([`mask`]), one option set ([`set_option`]).
//!
//! Enters: a body, decoded and whole, and what is to change. Leaves: the body as it goes on. Guarantees: JSON stays JSON,
//! and every byte that is not meant stays as it was, spelling and blanks included; what cannot be changed so is an error,
//! never a guess; each byte is looked at a bounded number of times. Does not: hold bodies, know which may be changed
//! (a signature would break), or look for leaks (`leak`).

mod mask;
mod option;
pub(crate) mod tokens;

pub(crate) use mask::marker;
pub use mask::{Masked, Unmaskable, mask, mask_text};
pub use option::{Set, set_option};
