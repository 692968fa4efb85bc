//! What tests share: where the reference cases are.

use std::path::PathBuf;

/// The folder of reference cases: `SWAPTIDE_CASES`, else `../shared/cases` beside the crate. `None` where there is none; then
/// the test says so and passes, because a clone of the repository alone must be testable.
#[expect(clippy::disallowed_methods, reason = "tests find the cases by an environment variable; nothing else reads one")]
pub(crate) fn cases_dir() -> Option<PathBuf> {
    let dir = std::env::var("SWAPTIDE_CASES")
        .map_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/cases")), PathBuf::from);
    dir.is_dir().then_some(dir)
}

/// A reference file as JSON, or `None` with a line that says why.
pub(crate) fn case_file(path: &str) -> Option<serde_json::Value> {
    let Some(dir) = cases_dir() else {
        note(&format!("no reference cases here (SWAPTIDE_CASES is unset and ../shared/cases absent): {path} not checked"));
        return None;
    };
    let file = dir.join(path);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
}

fn note(text: &str) {
    eprintln!("{text}");
}
