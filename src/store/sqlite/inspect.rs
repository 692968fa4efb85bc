//! What `swaptide doctor` says of the file, without touching it.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{
    connections::blocking,
    open::{self, Claims, Found},
};
use crate::store::{
    history::StoreError,
    inspect::{self, Check, Inspection, Wanted},
};

/// Looks at the file and its folder; writes nothing.
pub async fn inspect(path: &Path, wanted: &[Wanted]) -> Inspection {
    let (path, wanted) = (path.to_owned(), wanted.to_vec());
    let looked = blocking(move || Ok(look(&path, &wanted))).await;
    looked.unwrap_or_else(refused)
}

fn refused(error: StoreError) -> Inspection {
    Inspection { checks: vec![Check::new("file", Err(error))], ..Inspection::default() }
}

fn look(path: &Path, wanted: &[Wanted]) -> Inspection {
    let shown = path.display();
    let found = match open::look(path) {
        Ok(found) => found,
        Err(failure) => return refused(failure.at(path)),
    };
    let (said, there) = match found {
        Found::Nothing => (format!("`{shown}` is made by the first start"), Claims::new()),
        Found::Ours(there) => {
            let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
            (format!("`{shown}` is ours, {:.1} MB", bytes as f64 / 1e6), there)
        }
        Found::Interrupted => {
            (format!("`{shown}` was being made when its process ended: the next start does it again"), Claims::new())
        }
    };
    let chains = inspect::chains(&there, wanted, |claimed, chain, genesis| {
        open::judge(path, &there, claimed, chain, genesis).map_err(|failure| failure.at(path))
    });
    let mut checks = vec![Check::new("file", Ok(said)), Check::new("rights", writable(path))];
    checks.extend(chains);
    Inspection { checks, chains: there.into_keys().collect() }
}

/// SQLite writes the file, and makes its log beside it.
fn writable(path: &Path) -> Result<String, StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    let refuse = |what: &Path, why: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!(
            "`{}` cannot be written ({why}): give this user the right to, or name another file in [store] url",
            what.display()
        ))
    };
    // With the rights that an open would have; nothing is made.
    accessat(CWD, &folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(|e| refuse(&folder, &e))?;
    if path.exists() {
        // Opening changes neither the contents nor a time.
        OpenOptions::new().write(true).open(path).map_err(|e| refuse(path, &e))?;
    }
    Ok("file and folder can be written".to_owned())
}
