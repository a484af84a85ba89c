//! Folders as whoever keeps them may leave them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use super::*;
use fleet::folder::{cluster_text, release_path};
use fleet::hub::ClusterSpec;
use std::fs;
use std::os::unix::fs::symlink;

const LONG: Duration = Duration::from_secs(3600);

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for tree in ["one", "two"] {
        fs::create_dir_all(folder.path().join(tree).join("clusters")).unwrap();
        fs::create_dir_all(folder.path().join(tree).join("releases")).unwrap();
    }
    folder
}

fn swap(folder: &Path, to: &str) {
    symlink(to, folder.join("next")).unwrap();
    fs::rename(folder.join("next"), folder.join("current")).unwrap();
}

fn text(number: u64) -> String {
    let enforce = Ref { number, ..Ref::nothing() };
    let wanted = Some(fleet::rollout::Wanted { enforce, shadow: None });
    cluster_text("dev", &ClusterSpec { wanted, ..ClusterSpec::default() })
}

fn number(looked: &Looked) -> Option<u64> {
    looked.as_ref().ok()?.as_ref()?.data.pointer("/spec/wanted/enforce/number")?.as_u64()
}

#[tokio::test(start_paused = true)]
async fn a_folder_tells_what_changes_whichever_way_it_is_kept() {
    let folder = folder();
    let current = folder.path().join("current");
    let mut looks = Source::Folder(current.clone()).looks("dev");
    let first = looks.next().await.unwrap();
    assert!(first.unwrap_err().contains("current: No such file"), "nothing was checked out yet");

    swap(folder.path(), "one");
    assert_eq!(looks.next().await.unwrap(), Ok(None));
    // A file that is written in place, in two halves.
    let whole = text(1);
    let (half, _) = whole.split_at(whole.len() / 2);
    fs::write(current.join("clusters/dev.json"), half).unwrap();
    assert!(looks.next().await.unwrap().unwrap_err().contains("not wholly written yet"));
    fs::write(current.join("clusters/dev.json"), &whole).unwrap();
    assert_eq!(number(&looks.next().await.unwrap()), Some(1));
    // The same once more is no news.
    fs::write(current.join("clusters/dev.json"), &whole).unwrap();
    assert!(tokio::time::timeout(LONG, looks.next()).await.is_err());

    // Another tree, and the old one goes.
    fs::write(folder.path().join("two/clusters/dev.json"), text(2)).unwrap();
    swap(folder.path(), "two");
    fs::remove_dir_all(folder.path().join("one")).unwrap();
    let mut looks = Source::Folder(current).looks("dev");
    assert_eq!(number(&looks.next().await.unwrap()), Some(2));
}

#[tokio::test]
async fn nothing_is_read_that_is_outside_of_the_folder_or_no_file_or_too_large() {
    let folder = folder();
    fs::write(folder.path().join("secret"), "{\"password\": \"hunter2\"}").unwrap();
    let one = folder.path().join("one");
    let file = one.join("clusters/dev.json");
    symlink(folder.path().join("secret"), &file).unwrap();
    let refused = look(&one, "dev").await.unwrap_err();
    assert!(refused.contains("leads out of the folder") && !refused.contains("hunter2"), "{refused}");
    fs::remove_file(&file).unwrap();
    symlink("/dev/zero", &file).unwrap();
    assert!(look(&one, "dev").await.unwrap_err().contains("leads out of the folder"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(look(&one, "dev").await.unwrap_err().contains("is no file"));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, vec![b' '; usize::try_from(MOST_CLUSTER_BYTES).unwrap() + 1]).unwrap();
    assert!(look(&one, "dev").await.unwrap_err().contains("more than"));
    assert!(look(&one, "../secret").await.unwrap_err().contains("no name of a cluster"));

    // Of how the cluster stands nobody says anything there.
    let lying = text(1).replace("\"spec\"", "\"status\": {\"memory\": {}}, \"spec\"");
    fs::write(&file, lying).unwrap();
    let object = look(&one, "dev").await.unwrap().unwrap();
    assert!(object.data.get("status").is_none(), "{object:?}");
}

#[tokio::test]
async fn a_release_that_is_not_there_or_not_whole_is_said() {
    let folder = folder();
    let one = folder.path().join("one");
    let source = Source::Folder(one.clone());
    let release = Ref { number: 3, ..Ref::nothing() };
    let path = release_path(&release);
    assert_eq!(path, "releases/release-3.json");
    assert!(source.envelope(&release).await.unwrap_err().contains("has no releases/release-3.json"));
    fs::write(one.join(&path), "{\"spec\": {\"envelope\": {\"payloa").unwrap();
    assert!(source.envelope(&release).await.unwrap_err().contains("not wholly written yet"));
    fs::write(one.join(&path), "{\"spec\": {}}").unwrap();
    assert!(source.envelope(&release).await.unwrap_err().contains("release-3: "));
}

#[test]
fn a_registry_that_does_not_answer_is_asked_less_and_less_often() {
    let pauses = [0, 1, 2, 3, 4, 5, 99].map(|failed| pause(failed).as_secs());
    assert_eq!(pauses, [30, 60, 120, 240, 300, 300, 300]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_cannot_be_asked_says_why_and_is_asked_again_from_the_start() {
    use kube::runtime::watcher::Error as WatchError;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let failed = || Err(WatchError::NoResourceVersion);
    let object = || Ok(Some(DynamicObject::new("dev", &resource(CLUSTER))));
    let begun = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&begun);
    // Fails twice, answers, fails, answers with nothing, and then is silent.
    let begin = move || {
        let events = match count.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => vec![failed()],
            2 => vec![object(), failed()],
            _ => vec![Ok(None)],
        };
        futures_util::stream::iter(events).chain(futures_util::stream::pending())
    };
    let mut looks = watched(begin, "asking".to_owned());
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(match looks.next().await.unwrap() {
            Ok(Some(_)) => "there".to_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(why) => why,
        });
    }
    let why = format!("asking: {}", WatchError::NoResourceVersion);
    assert_eq!(said, [why.as_str(), why.as_str(), "there", "nothing"]);
    assert_eq!(begun.load(Ordering::Relaxed), 4);
    assert!(tokio::time::timeout(LONG, looks.next()).await.is_err());
}
