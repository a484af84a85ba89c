//! Content-addressed storage of the Hugging Face Hub (Xet), where uploads and downloads share host and port.
//!
//! Enters: a head. Leaves: a draft. Guarantees: what stores chunks or tells of them is an upload. Does not: know whose
//! content a hash is; the tokens that the Hub hands out say that.

use super::request::{Draft, Request, Shape};
use policy::Verb;

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let rest = match segments.as_slice() {
        ["v1" | "v2", rest @ ..] => rest,
        rest if request.service.is_some() => rest,
        _ => return Ok(None),
    };
    let is_read = request.is_read();
    let verb = match (request.method(), rest) {
        ("POST" | "PUT", ["xorbs" | "xorb", ..]) => Verb::Upload,
        ("POST" | "PUT", ["shards" | "shard", ..]) => Verb::Upload,
        // A read, though it is a POST: it asks for many at once.
        ("POST", ["reconstructions"]) => Verb::Download,
        (_, ["reconstructions" | "reconstruction", ..]) if is_read => Verb::Download,
        (_, ["chunks" | "chunk", _, _]) if is_read => Verb::Download,
        ("HEAD", ["xorbs" | "xorb", ..]) => Verb::Meta,
        // Chunks themselves, at addresses that a reconstruction gave.
        ("GET", ["xorbs" | "xorb" | "get_xorb", _, ..]) if request.service.is_some() => Verb::Download,
        _ => return Ok(None),
    };
    Ok(Some(Draft::new(request.provider("huggingface-compatible"), "cas", verb)))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn only_reads_are_downloads() {
        let host = "https://cas-server.xethub.hf.co";
        check(&[
            (&format!("GET {host}/v1/reconstructions/abc"), "", "huggingface cas download"),
            (&format!("GET {host}/v2/reconstructions/abc"), "", "huggingface cas download"),
            (&format!("POST {host}/v1/reconstructions"), "", "huggingface cas download"),
            (&format!("GET {host}/v1/chunks/default-merkledb/abc"), "", "huggingface cas download"),
            (&format!("POST {host}/v1/xorbs/default/abc"), "", "huggingface cas upload"),
            (&format!("POST {host}/v1/shards"), "", "huggingface cas upload"),
            (&format!("POST {host}/v2/shards"), "", "huggingface cas upload"),
            (&format!("POST {host}/shards"), "", "huggingface cas upload"),
            ("GET https://transfer.xethub.hf.co/xorbs/default/abc?X=1", "", "huggingface cas download"),
            (&format!("PUT {host}/v1/reconstructions/abc"), "", "huggingface unknown unknown"),
            ("POST https://mirror.example/v1/shards", "", "huggingface-compatible cas upload"),
            ("GET https://us-east-1.aws.cdn.hf.co/xet/abc?sig=1", "", "huggingface content download"),
            ("PUT https://us-east-1.aws.cdn.hf.co/xet/abc", "", "huggingface unknown unknown"),
        ]);
    }
}
