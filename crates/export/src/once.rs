//! Exporting what a ledger has, once.

use crate::batch::{Batch, Place};
use crate::error::ExportError;
use crate::settings::Settings;
use crate::sink::{Outcome, Sink};
use crate::target::Target;
use crate::worker::{BATCH, pause};
use ledger::Reader;
use std::io;

/// Times in a row that a target is tried.
const TRIES: u32 = 5;

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Entries that were sent.
    pub sent: u64,
    /// Entries that were refused for good.
    pub refused: u64,
    /// The number of the last entry.
    pub last: i64,
    /// What the target said last of what it does not want.
    pub says: Option<String>,
}

/// Sends all entries of a ledger after a number, as they are at the moment. Of a ledger that is being written, those of the last
/// seconds may still grow.
///
/// # Errors
/// The ledger cannot be read, a target or a file that goes with it is not what it should be, or the target took nothing five
/// times in a row.
pub fn once(reader: &Reader, after: i64, target: &Target, settings: &Settings) -> Result<Sent, ExportError> {
    let failed = |source| ExportError::Thread { target: target.to_string(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut sink = Sink::new(target.clone(), settings)?;
    let place = Place { ledger: reader.origin()?, ..Place::default() };
    let (mut done, mut size, mut failures) = (Sent { last: after, ..Sent::default() }, BATCH, 0);
    loop {
        let found = reader.follow(done.last, u64::MAX, size)?;
        let inside = found.entries.len();
        if inside == 0 {
            return Ok(done);
        }
        // What was forgotten before is nothing that this missed: nobody asked for it until today.
        let batch = Batch { lost: None, entries: found.entries, place: place.clone() };
        let outcome = runtime.block_on(sink.send(&batch));
        let refused = match outcome {
            Outcome::Taken { rejected, says } => {
                done.says = says.or(done.says.take());
                rejected.min(inside as u64)
            }
            Outcome::Never { .. } if inside > 1 => {
                size = inside / 2;
                continue;
            }
            Outcome::Never { why } => {
                done.says = Some(why);
                1
            }
            Outcome::Closed => return Err(ExportError::Closed(io::ErrorKind::BrokenPipe.into())),
            Outcome::Later { why, .. } if failures + 1 >= TRIES => {
                return Err(ExportError::GaveUp { target: target.to_string(), why, last: done.last });
            }
            Outcome::Later { after, .. } => {
                let pause = pause(failures, u64::from(failures));
                failures += 1;
                std::thread::sleep(after.map_or(pause, |after| after.max(pause)));
                continue;
            }
        };
        failures = 0;
        size = (size * 2).min(BATCH);
        done.last = found.last;
        done.refused += refused;
        done.sent += inside as u64 - refused;
    }
}
