//! What of the configuration is never shown: some providers repeat the key in what they answer.

use url::Url;

use crate::config::Config;

/// A shorter part of a URL is a version or a word, such as `v3`.
const SECRET_MIN_BYTES: usize = 6;

/// Parts of URLs that may be keys, and passwords.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of(config: &Config) -> Self {
        let urls = config.chain.iter().flat_map(|chain| &chain.rpc).filter_map(|rpc| Url::parse(rpc.url()).ok());
        let mut parts: Vec<String> = urls.flat_map(|url| of_url(&url)).collect();
        parts.extend(config.store.password.clone());
        // Several hosts make a URI that is no URL.
        let user = config.store.url.split_once("//").and_then(|(_, rest)| rest.rsplit_once('@'));
        parts.extend(user.and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password.to_owned()));
        parts.retain(|part| part.len() >= SECRET_MIN_BYTES);
        // What contains another one goes first.
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Self(parts)
    }

    pub(super) fn hide(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| text.replace(secret, "…"))
    }
}

fn of_url(url: &Url) -> Vec<String> {
    let path = url.path_segments().into_iter().flatten().map(ToOwned::to_owned);
    let query = url.query_pairs().map(|(_, value)| value.into_owned());
    path.chain(query).chain([url.username().to_owned(), url.password().unwrap_or_default().to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::Secrets;
    use crate::config;

    #[test]
    fn a_key_is_hidden_wherever_it_stood_in_a_url() {
        let toml = r#"
            store = { url = "mongodb://ada:pass-of-ada@a:1,b:2/x" }
            [[chain]]
            id = 1
            name = "x"
            rpc = ["wss://node.example/v3/key-in-path", "https://node.example/?apikey=key-in-query", "https://bob:key-of-bob@node.example"]
            [[chain.dex]]
            name = "d"
            protocol = "uniswap_v3"
            factory = "0x1F98431c8aD98523631AE4a59f267346ea31F984"
        "#;
        let secrets = Secrets::of(&config::parse(toml, "x", &|_| None, &[]).unwrap());
        let text = "node.example/v3: key-in-path, key-in-query, key-of-bob and pass-of-ada are not known".to_owned();
        assert_eq!(secrets.hide(text), "node.example/v3: …, …, … and … are not known");
    }
}
