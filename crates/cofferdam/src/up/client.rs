//! The other end of the local socket: what `flows` and `status` ask.
//!
//! Guarantees: says where it looked when nobody answers.
//! Does not: retry; a daemon that is gone is an error the user should see.

use super::protocol::{Answer, Request};
use super::socket::candidates;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Asks once, and gives the answers as they come.
pub(crate) fn ask(
    socket: Option<&Path>,
    request: &Request,
) -> Result<impl Iterator<Item = Result<Answer>> + use<>> {
    let mut stream = connect(socket)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("sending the request")?;
    let parse = |line: std::io::Result<String>| -> Result<Answer> {
        let line = line.context("reading the answer")?;
        match serde_json::from_str(&line)
            .context("the answer is not what this version of the program expects")?
        {
            Answer::Error(error) => bail!("{error}"),
            answer => Ok(answer),
        }
    };
    Ok(BufReader::new(stream).lines().map(parse))
}

fn connect(socket: Option<&Path>) -> Result<UnixStream> {
    let places = socket.map_or_else(candidates, |path| vec![path.to_path_buf()]);
    let mut barred = None;
    for place in &places {
        match UnixStream::connect(place) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => barred = barred.or(Some(place)),
            Err(_) => {}
        }
    }
    if let Some(place) = barred {
        bail!(
            "{}: permission denied: only the user who runs `up` or the agent there is answered: ask as that user (sudo, for root), start \
             one of your own with `cofferdam up -f DIR`, or, where the command has --api, ask with --api URL --token FILE",
            place.display()
        );
    }
    let places: Vec<_> = places.iter().map(|place: &PathBuf| place.display().to_string()).collect();
    bail!(
        "no cofferdam answers at {}; start one with `cofferdam up -f DIR`, say where it is with --socket, or, where the command has \
         --api, ask one elsewhere with --api URL --token FILE",
        places.join(" or ")
    )
}
