//! A Core Rule Set made ready to load: its files in their order, and the engine's options before them.
//!
//! The options are those that ModSecurity recommends for its engine, as far as they are about judging: bodies are looked
//! at, JSON and XML are read by their content type, and what cannot be read is denied.

use crate::load::Files;

/// Name under which [`OPTIONS`] appear in errors.
pub const OPTIONS_NAME: &str = "engine options";

/// Options of the engine, before the rules.
pub const OPTIONS: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 13107200
SecRequestBodyLimitAction Reject
SecRequestBodyJsonDepthLimit 512
SecArgumentsLimit 5000
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml
SecResponseBodyLimit 524288
SecResponseBodyLimitAction ProcessPartial
SecAuditEngine RelevantOnly

SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\+|/)|text/)xml" \
    "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"

SecRule REQUEST_HEADERS:Content-Type "@rx ^application/(?:[a-z0-9.-]+\+)?json" \
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"

SecRule REQBODY_ERROR "!@eq 0" \
    "id:200002,phase:2,t:none,log,deny,status:400,\
    msg:'The body of the request cannot be read',logdata:'%{reqbody_error_msg}',severity:2"

SecRule MULTIPART_STRICT_ERROR "!@eq 0" \
    "id:200003,phase:2,t:none,log,deny,status:400,\
    msg:'Readers of this multipart body would differ on what it says',severity:2"

SecRule MULTIPART_UNMATCHED_BOUNDARY "@eq 1" \
    "id:200004,phase:2,t:none,log,deny,status:400,\
    msg:'A line of this multipart body looks like a boundary and is none',severity:2"
"#;

/// Puts the files of a Core Rule Set in order: options, set-up, rules by name; data files aside.
///
/// `found` are all files of its folder and of the `rules` folder within, by their paths. A set-up file or an exclusion
/// file that ends by `.example` is taken when the same name without it is not there, for that is what it is for.
#[must_use]
pub fn order(found: Vec<(String, Vec<u8>)>, more: &[(&str, &str)]) -> Files {
    let mut files = Files::default();
    files.rules.push((OPTIONS_NAME.to_owned(), OPTIONS.as_bytes().to_vec()));
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let names: Vec<String> = found.iter().map(|(path, _)| name(path)).collect();
    let mut rules = Vec::new();
    for (path, bytes) in found {
        let file = name(&path);
        match file.strip_suffix(".example") {
            Some(plain) if plain.ends_with(".conf") && !names.iter().any(|known| known == plain) => {
                rules.push((path, bytes))
            }
            Some(_) => {}
            None if file.ends_with(".conf") => rules.push((path, bytes)),
            None if file.ends_with(".data") => files.data.push((file, bytes)),
            None => {}
        }
    }
    let is_setup = |path: &str| name(path).starts_with("crs-setup");
    rules.sort_by_key(|(path, _)| (!is_setup(path), name(path)));
    let (setup, rest): (Vec<_>, Vec<_>) = rules.into_iter().partition(|(path, _)| is_setup(path));
    files.rules.extend(setup);
    files.rules.extend(more.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
    files.rules.extend(rest);
    files
}
