//! Fixed documents.

use std::{borrow::Cow, fmt};

/// A fixed document: the answer to `GET` and `HEAD` of its path.
///
/// Every answer has `Cache-Control: no-cache`, `X-Content-Type-Options: nosniff` (as have all answers of this server),
/// `Referrer-Policy: no-referrer` and a `Content-Security-Policy`. That policy lets a browser load and run nothing at
/// all unless [`Page::policy`] allows more. [`Builder::pages_on`](crate::Builder::pages_on) says where pages are served.
///
/// ```
/// use lhttp::Page;
///
/// let page = Page::new("/", "text/html; charset=utf-8", b"<!doctype html><title>Hello</title>".as_slice())
///     .policy("default-src 'none'; style-src 'self'");
/// ```
#[derive(Clone)]
pub struct Page {
    path: String,
    content_type: String,
    policy: String,
    body: Cow<'static, [u8]>,
}

impl Page {
    /// A page at `path`. A request's path, without its query, must equal it byte for byte. The body costs its bytes
    /// once; a `'static` body (`include_bytes!`) costs nothing.
    pub fn new(path: impl Into<String>, content_type: impl Into<String>, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            path: path.into(),
            content_type: content_type.into(),
            policy: "default-src 'none'; frame-ancestors 'none'".to_owned(),
            body: body.into(),
        }
    }

    /// Sets the `Content-Security-Policy`, which otherwise forbids everything.
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policy = policy.into();
        self
    }

    /// Its policy, its content type and its content.
    pub(crate) fn parts(&self) -> (&str, &str, &[u8]) {
        (&self.policy, &self.content_type, &self.body)
    }

    /// The flaw of the page, if any, in one sentence.
    fn fault(&self) -> Option<String> {
        let is_target = self.path.starts_with('/') && self.path.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_target || self.path.contains(['?', '#']) {
            return Some(format!("page: {:?} is not a path such as /style.css", self.path));
        }
        let is_value =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let named = [("content type", &self.content_type), ("policy", &self.policy)];
        let (name, value) = named.into_iter().find(|(_, value)| !is_value(value))?;
        Some(format!("page {}: the {name} {value:?} cannot be a header's value", self.path))
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Page");
        debug.field("path", &self.path).field("content_type", &self.content_type).field("policy", &self.policy);
        debug.field("body_bytes", &self.body.len()).finish()
    }
}

/// All the pages of a server, each at its own path.
#[derive(Debug, Default)]
pub(crate) struct Pages(Vec<Page>);

impl Pages {
    /// # Errors
    /// One sentence: a path occurs twice, no request can ask for a page, or no header can describe it.
    pub(crate) fn new(pages: Vec<Page>) -> Result<Self, String> {
        for (index, page) in pages.iter().enumerate() {
            if let Some(fault) = page.fault() {
                return Err(fault);
            }
            if pages[..index].iter().any(|other| other.path == page.path) {
                return Err(format!("page: {} is given twice", page.path));
            }
        }
        Ok(Self(pages))
    }

    /// The page at this path. There are a handful, so a linear search is enough.
    pub(crate) fn at(&self, path: &str) -> Option<&Page> {
        self.0.iter().find(|page| page.path == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, content_type: &str) -> Page {
        Page::new(path, content_type, path.as_bytes().to_vec())
    }

    fn refusal(page: Page) -> String {
        Pages::new(vec![page]).expect_err("this page must be refused")
    }

    #[test]
    fn a_page_is_found_by_its_path_alone() {
        let pages = Pages::new(vec![page("/", "text/html"), page("/two", "text/plain")]);
        let pages = pages.unwrap();
        assert_eq!(pages.at("/two").unwrap().parts().2, b"/two");
        assert!(pages.at("/two/").is_none() && pages.at("").is_none() && pages.at("/Two").is_none());
    }

    #[test]
    fn a_page_that_no_request_can_ask_for_is_refused() {
        for path in ["", "index.html", "/a b", "/a?b", "/a#b", "/\r\n", "/\u{e4}"] {
            let sentence = refusal(page(path, "text/plain"));
            assert!(sentence.starts_with("page: ") && !sentence.contains('\n'), "{sentence:?}");
        }
        let twice = Pages::new(vec![page("/a", "t"), page("/a", "t")]);
        assert_eq!(twice.unwrap_err(), "page: /a is given twice");
    }

    #[test]
    fn no_header_can_be_smuggled_in() {
        assert!(refusal(page("/", "text/html\r\nSet-Cookie: a=b")).contains("content type"));
        assert!(refusal(page("/", "text/html").policy("default-src\n'none'")).contains("policy"));
        assert!(refusal(page("/", "")).contains("content type"));
    }
}
