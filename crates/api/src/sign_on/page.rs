//! The page for somebody whom the provider sent back and who is not logged in. No script, no style, nothing but text.

use super::CONSOLE;

/// In HTML. What the provider said stands in it as text.
pub(crate) fn not_logged_in(why: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Not logged in · Cofferdam</title></head>\n\
         <body>\n<h1>You are not logged in</h1>\n<p>{}</p>\n<p><a href=\"{CONSOLE}\">Back to the console</a></p>\n</body>\n</html>\n",
        escaped(why)
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::NotSignedOn;
    use super::*;

    #[test]
    fn what_others_said_is_text() {
        let page = not_logged_in(&NotSignedOn::Denied("<script>\"a\" & 'b'".to_owned()).to_string());
        assert!(page.contains("&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }
}
