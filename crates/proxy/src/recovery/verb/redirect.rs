//! `Redirect`: the call goes on with the document of another URL.

use roxmltree::Node;

use super::{
    super::{
        document::{Notes, Reading, Refusal},
        twiml,
        url::Url,
    },
    method, text,
};
use crate::question::HttpMethod;

/// Where the next document comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// Absolute by now.
    pub url: Url,
    /// How it is asked.
    pub method: HttpMethod,
}

/// Reads `<Redirect method="GET">next?step=2</Redirect>`. A redirect that leads nowhere leaves the
/// document without its end, so it makes the whole of it invalid.
pub fn read(
    node: Node<'_, '_>,
    reading: Reading<'_>,
    notes: &mut Notes,
) -> Result<Redirect, Refusal> {
    let url = reading
        .url(&text(node))
        .map_err(|fault| twiml::refusal(node, format!("leads nowhere: {fault}")))?;
    Ok(Redirect {
        url,
        method: method(node, notes),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Verb, document, only},
        *,
    };

    #[test]
    fn a_redirect_resolves_and_posts_unless_told_otherwise() {
        let cases = [
            (
                "<Redirect>https://o.example/x</Redirect>",
                "https://o.example/x",
                HttpMethod::Post,
            ),
            (
                "<Redirect method='get'>next</Redirect>",
                "https://dr.example.net/app/next",
                HttpMethod::Get,
            ),
            (
                "<Redirect>\n ../b?a=1&amp;c=2 </Redirect>",
                "https://dr.example.net/b?a=1&c=2",
                HttpMethod::Post,
            ),
            (
                "<Redirect>a<!-- not this -->b</Redirect>",
                "https://dr.example.net/app/ab",
                HttpMethod::Post,
            ),
            (
                "<Redirect><![CDATA[n?a=1&b=2]]></Redirect>",
                "https://dr.example.net/app/n?a=1&b=2",
                HttpMethod::Post,
            ),
        ];
        for (xml, url, method) in cases {
            let Verb::Redirect(redirect) = only(xml) else {
                panic!("{xml}")
            };
            assert_eq!(
                (redirect.url.as_str(), redirect.method),
                (url, method),
                "{xml}"
            );
        }
    }

    #[test]
    fn a_redirect_that_leads_nowhere_makes_the_document_invalid() {
        for xml in [
            "<Redirect/>",
            "<Redirect>ftp://x/</Redirect>",
            "<Redirect>a&#13;&#10;b: c</Redirect>",
        ] {
            let refusal = document(xml).unwrap_err().to_string();
            assert!(
                refusal.starts_with("1:11: Redirect leads nowhere: "),
                "{refusal}"
            );
        }
    }
}
