//! The allow list as a picture: a matrix, who connects at the left, to whom above. A drawing of nodes and lines
//! stops being readable at thirty workloads; a matrix does not.

use super::{edges, entities, grouped, line, namespace};
use crate::connectivity::{Entry, Peer, Protocols};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const CELL: usize = 22;
const LETTER: usize = 7;

/// An SVG document. Full squares allow everything, open ones some ports; each names them in its tooltip.
pub fn svg(entries: &[Entry]) -> String {
    let peers: Vec<&Peer> = grouped(entries).into_values().flatten().collect();
    let labels: Vec<String> = peers.iter().map(|peer| peer.to_string()).collect();
    let places: BTreeMap<&Peer, usize> = peers.iter().enumerate().map(|(at, peer)| (*peer, at)).collect();
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0) * LETTER + 16;
    let (side, size) = (peers.len() * CELL, margin + peers.len() * CELL + 16);
    let mut out = String::new();
    line(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" viewBox=\"0 0 {size} \
             {size}\" font-family=\"ui-monospace, monospace\" font-size=\"11\">\n<title>Allowed \
             connections</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
        ),
    );
    bands(&mut out, &peers, margin, side);
    for (at, label) in labels.iter().enumerate() {
        let (end, middle, label) = (margin - 6, margin + at * CELL + CELL / 2, entities(label));
        line(
            &mut out,
            format_args!(
                "<text x=\"{end}\" y=\"{}\" text-anchor=\"end\">{label}</text>\n<text transform=\"translate({} \
                 {end}) rotate(-90)\">{label}</text>",
                middle + 4,
                middle + 4
            ),
        );
    }
    let everything = entries.iter().filter(|entry| entry.protocol == Protocols::All);
    let full: BTreeSet<(&Peer, &Peer)> = everything.map(|entry| (&entry.from, &entry.to)).collect();
    for (from, to, what) in edges(entries) {
        let (Some(row), Some(column)) = (places.get(from), places.get(to)) else { continue };
        let (x, y) = (margin + column * CELL + 3, margin + row * CELL + 3);
        let fill = if full.contains(&(from, to)) { "#1f6f8b" } else { "#cfe8ef" };
        let tooltip = entities(&format!("{from} -> {to}: {what}"));
        line(
            &mut out,
            format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{0}\" height=\"{0}\" rx=\"3\" fill=\"{fill}\" \
                 stroke=\"#1f6f8b\"><title>{tooltip}</title></rect>",
                CELL - 6
            ),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// A frame around each namespace's square, and a light grid.
fn bands(out: &mut String, peers: &[&Peer], margin: usize, side: usize) {
    for at in 0..=peers.len() {
        let border = at == 0
            || at == peers.len()
            || peers.get(at - 1).map(|peer| namespace(peer)) != peers.get(at).map(|peer| namespace(peer));
        let (place, end) = (margin + at * CELL, margin + side);
        let start = if border { 0 } else { margin };
        let colour = if border { "#888888" } else { "#eeeeee" };
        let _ = writeln!(
            out,
            "<path d=\"M{start} {place}H{end}M{place} {start}V{end}\" stroke=\"{colour}\" fill=\"none\"/>"
        );
    }
}
