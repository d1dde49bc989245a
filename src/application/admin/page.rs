//! The page with live figures, at `/`: its files are built in. It has the policy that it may load and run these alone, and
//! ask this address.

use crate::{engine::application::Answer, protocol::http::RequestHead};

/// The files: path, content type, content.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/charts.js", "text/javascript; charset=utf-8", include_str!("page/charts.js")),
    ("/figures.js", "text/javascript; charset=utf-8", include_str!("page/figures.js")),
    ("/icon.svg", "image/svg+xml; charset=utf-8", include_str!("../../../sdk/javascript/demo/icon.svg")),
];

const HEADERS: &[(&str, &str)] = &[
    ("Cache-Control", "no-cache"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
];

/// The answer to a request that reads one of the files.
pub(super) fn part(head: &RequestHead<'_, '_>) -> Option<Answer<'static>> {
    if !matches!(head.method, "GET" | "HEAD") {
        return None;
    }
    let (_, content_type, content) = FILES.iter().find(|(path, ..)| *path == head.path)?;
    Some(Answer { content_type, body: content.as_bytes(), ..Answer::text(200, "").headers(HEADERS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_loads_is_served() {
        let texts = FILES.iter().map(|(.., text)| *text);
        let loaded = texts.flat_map(|text| text.split('"')).filter(|part| part.starts_with("./") && part.contains('.'));
        let loaded: Vec<&str> = loaded.filter(|part| !part.starts_with("./api/")).collect();
        assert!(loaded.contains(&"./page.js") && loaded.contains(&"./charts.js"), "{loaded:?}");
        for part in loaded {
            assert!(FILES.iter().any(|(path, ..)| *path == &part[1..]), "{part} is not served");
        }
    }
}
