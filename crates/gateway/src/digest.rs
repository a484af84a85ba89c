//! SHA-256 of the bodies of a request and of its answer, as they pass.
//!
//! Guarantees: nothing is kept but the state of the digests. Does not: say more of a body that is cut than what passed of it.

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use std::sync::{Mutex, PoisonError};

/// The digests of one request.
#[derive(Default)]
pub(crate) struct Digests {
    up: Running,
    down: Running,
}

/// `None`: no byte passed.
#[derive(Default)]
struct Running(Mutex<Option<Context>>);

impl Digests {
    /// What goes to the server.
    pub(crate) fn up(&self, piece: &[u8]) {
        self.up.push(piece);
    }

    /// What goes to the client.
    pub(crate) fn down(&self, piece: &[u8]) {
        self.down.push(piece);
    }

    /// Both so far, in lower-case hexadecimal digits: of the request, of the answer. What passes later begins anew, for nobody.
    pub(crate) fn read(&self) -> (Option<String>, Option<String>) {
        (self.up.read(), self.down.read())
    }
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests").finish_non_exhaustive()
    }
}

impl Running {
    fn push(&self, piece: &[u8]) {
        if !piece.is_empty() {
            let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            running.get_or_insert_with(|| Context::new(&SHA256)).update(piece);
        }
    }

    fn read(&self) -> Option<String> {
        // Taken, for a copy of the state is an allocation.
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Some(HEXLOWER.encode(running?.finish().as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_all_that_passed_and_there_is_none_of_nothing() {
        let digests = Digests::default();
        ["a", "", "bc"].iter().for_each(|piece| digests.up(piece.as_bytes()));
        digests.down(b"");
        // The first example of FIPS 180-2, appendix B.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digests.read(), (Some(abc.to_owned()), None));
    }
}
