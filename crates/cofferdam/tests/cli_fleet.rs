//! `cofferdam release` and `cofferdam clusters`, as a user runs them.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, image: i}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {containers: [{name: c, image: i}]}
status: {podIP: 10.0.0.2}
";

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
";

/// Made by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`, for tests alone.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILd2Q1NBOQwkl8DSsPh8GzfipkgiLPnKiUSdgkwb+TsI
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "MCowBQYDK2VwAyEAlfctkCpQpMs7j1oB5b6rYjL1Pr0FjsZrzUi0x4t+NUU=";

fn run(folder: &Path, args: &str) -> (Option<i32>, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("cofferdam runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A folder with what is written above.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: ReleaseKeys\nkeys:\n- name: platform\n  public: |\n    -----BEGIN PUBLIC KEY-----\n    \
         {PUBLIC}\n    -----END PUBLIC KEY-----\n"
    );
    let narrower = POLICY.replace("port: 5432", "port: 5433");
    for (name, text) in [
        ("key.pem", PRIVATE),
        ("keys.yaml", &keys),
        ("pods.yaml", POD),
        ("one/policy.yaml", POLICY),
        ("one/pods.yaml", POD),
        ("two/policy.yaml", &narrower),
        ("two/pods.yaml", POD),
        ("bad/policy.yaml", &POLICY.replace("port: 5432", "port: 70000")),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, text).expect("it is written");
    }
    folder
}

#[test]
fn a_release_is_built_signed_verified_and_never_goes_backwards() {
    let folder = folder();
    let here = folder.path();
    let (code, out, err) =
        run(here, "release build -f one --number 1 --previous none --sign key.pem -o 1.json");
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("release 1: 1 policy")
            && out.contains("2 objects that are no policies are left out, such as Pod shop/"),
        "{out}"
    );
    let (code, out, err) = run(here, "release build -f two --number 2 --sign key.pem -o 2.json");
    assert!(code == Some(0) && out.contains("cannot be taken back by itself"), "{out}{err}");
    run(here, "release build -f two --number 3 -o unsigned.json");
    for (args, expected, says) in [
        ("release verify 1.json --keys keys.yaml", 0, "signed by platform"),
        ("release verify 2.json --keys keys.yaml --newest 1.json", 0, "release 2 with digest sha256:"),
        ("release verify 1.json --keys keys.yaml --newest 2.json", 1, "is older than 2"),
        ("release verify unsigned.json --keys keys.yaml", 1, "nobody signed it"),
        ("release verify 1.json --keys keys.yaml --json", 0, "\"holds\": true"),
        ("release verify unsigned.json --keys keys.yaml --json", 1, "\"problem\": \"nobody signed it"),
        ("release verify key.pem --keys keys.yaml", 1, "it is no signed release"),
        ("release show unsigned.json", 0, "NetworkPolicy shop/db"),
        ("release diff 1.json 1.json", 0, "0 objects differ"),
        ("release diff 1.json 2.json", 1, "spec.ingress[0].ports[0].port: 5433"),
        ("release diff 1.json 2.json --on pods.yaml", 1, "- shop/web[Pod] -> shop/db[Pod] : TCP 5432"),
    ] {
        let (code, out, err) = run(here, args);
        assert!(code == Some(expected) && out.contains(says), "{args}: {code:?} {out}{err}");
    }
    let (_, out, _) = run(here, "release object 1.json");
    let object: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((&object["metadata"]["name"], &object["spec"]["number"]), (&"release-1".into(), &1.into()));
    // What a hub has is read as the file that it was made of, and manifests are told from both.
    fs::write(here.join("object.json"), &out).expect("it is written");
    for (args, expected, says) in [
        ("release show object.json", 0, "NetworkPolicy shop/db"),
        ("release verify object.json --keys keys.yaml", 0, "signed by platform"),
        ("release diff object.json 1.json", 0, "0 objects differ"),
        (
            "release show one/policy.yaml",
            2,
            "the first a NetworkPolicy; `cofferdam release build -f one/policy.yaml`",
        ),
        ("release verify unsigned.json --keys keys.yaml", 1, "unsigned.json changes nothing: "),
        ("release verify pods.yaml --keys keys.yaml", 1, "pods.yaml is no release: it has manifests"),
    ] {
        let (code, out, err) = run(here, args);
        assert!(
            code == Some(expected) && format!("{out}{err}").contains(says),
            "{args}: {code:?} {out}{err}"
        );
    }
}

#[test]
fn a_release_says_which_fleet_it_is_for_and_another_one_refuses_it() {
    let folder = folder();
    let here = folder.path();
    for (args, expected, says) in [
        (
            "release build -f one --number 1 --previous none --sign key.pem -o 1.json",
            0,
            "release 1: 1 policy",
        ),
        (
            "release build -f two --number 2 --previous 1.json --fleet eu --sign key.pem -o 2.json",
            0,
            "the release before it names none",
        ),
        (
            "release build -f one --number 3 --previous 2.json --fleet eu --sign key.pem -o 3.json",
            0,
            "it is of fleet eu",
        ),
        ("release build -f one --number 4 --previous 3.json --sign key.pem -o 4.json", 2, "--fleet eu"),
        ("release build -f one --number 4 --fleet E_U --sign key.pem -o 4.json", 2, "is no name of a fleet"),
        ("release show 1.json", 0, "of no fleet in particular"),
        ("release show 2.json", 0, "of fleet eu"),
        ("release verify 2.json --keys keys.yaml", 0, "signed by platform"),
        ("release verify 2.json --keys keys.yaml --fleet eu --fleet-named", 0, "signed by platform"),
        (
            "release verify 2.json --keys keys.yaml --fleet us",
            1,
            "was signed for fleet eu, and this cluster is of fleet us",
        ),
        ("release verify 1.json --keys keys.yaml --fleet us", 0, "signed by platform"),
        ("release verify 1.json --keys keys.yaml --fleet us --fleet-named", 1, "it names no fleet"),
        ("release verify 1.json --keys keys.yaml --fleet-named", 2, "--fleet <NAME>"),
    ] {
        let (code, out, err) = run(here, args);
        assert!(code == Some(expected) && (out + &err).contains(says), "{args}: {code:?} {err}");
    }
    let (_, out, _) = run(here, "release show 2.json --json");
    let shown: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!(shown["fleet"], "eu");
}

#[test]
fn a_release_is_exported_with_who_is_to_have_it_and_never_over_another() {
    let folder = folder();
    let here = folder.path();
    for args in [
        "release build -f one --number 1 --previous none --sign key.pem -o 1.json",
        "release build -f two --number 2 --previous 1.json --sign key.pem -o 2.json",
        "release build -f two --number 1 --previous none --sign key.pem -o other-1.json",
        "release build -f two --number 3 -o unsigned.json",
    ] {
        assert_eq!(run(here, args).0, Some(0), "{args}");
    }
    let cluster = |name: &str| -> Value {
        let text = fs::read_to_string(here.join(format!("git/clusters/{name}.json"))).expect("it is there");
        serde_json::from_str(&text).expect("JSON")
    };
    let export = |args: &str| run(here, &format!("release export {args}"));
    let (code, out, err) = export("1.json --to git --enforce dev --shadow prod");
    assert!(code == Some(0) && out.contains("git/clusters/dev.json: release 1 ("), "{out}{err}");
    assert_eq!(cluster("dev")["spec"]["wanted"]["enforce"]["number"], 1);
    let beside = &cluster("prod")["spec"]["wanted"];
    assert_eq!((&beside["enforce"]["number"], &beside["shadow"]["number"]), (&0.into(), &1.into()));
    let (_, object, _) = run(here, "release object 1.json");
    assert_eq!(fs::read_to_string(here.join("git/releases/release-1.json")).expect("it is there"), object);

    // What a file says besides stays.
    let reported = fs::read_to_string(here.join("git/clusters/dev.json")).expect("it is there");
    let reported = reported.replace("Correct", "Report");
    fs::write(here.join("git/clusters/dev.json"), reported).expect("it is written");
    assert_eq!(export("2.json --to git --shadow dev").0, Some(0));
    let dev = &cluster("dev")["spec"];
    assert_eq!((&dev["drift"], &dev["wanted"]["shadow"]["number"]), (&"Report".into(), &2.into()));
    assert_eq!(export("2.json --to git --enforce dev").0, Some(0));
    assert!(cluster("dev")["spec"]["wanted"].get("shadow").is_none());
    let before = cluster("dev");

    for (args, says) in [
        ("unsigned.json --to git --enforce dev", "signed by nobody"),
        ("other-1.json --to git --enforce dev", "a release never changes"),
        ("1.json --to git --enforce dev --shadow dev", "name it once"),
        ("2.json --to git --shadow dev", "in force already"),
        ("1.json --to git --enforce ../dev", "no name of a cluster"),
    ] {
        let (code, out, err) = export(args);
        assert!(code == Some(2) && err.contains(says), "{args}: {code:?} {out}{err}");
        assert_eq!(cluster("dev"), before, "{args}");
    }
}

#[test]
fn a_folder_is_pushed_whole_or_not_at_all() {
    let folder = folder();
    let here = folder.path();
    for args in [
        "release build -f one --number 1 --previous none --sign key.pem -o 1.json",
        "release export 1.json --to git --enforce dev --shadow prod",
    ] {
        assert_eq!(run(here, args).0, Some(0), "{args}");
    }
    let server = ociregistry::Registry::start(Some(("ann", "geheim")));
    let write = |name: &str, text: &str| fs::write(here.join(name), text).expect("it is written");
    let logins = |password: &str| {
        let entry = serde_json::json!({ "username": "ann", "password": password });
        serde_json::json!({ "auths": { server.host(): entry } }).to_string()
    };
    write("ca.crt", server.authority());
    write("login.json", &logins("geheim"));
    write("wrong.json", &logins("falsch"));
    write("nobody.json", "{\"auths\": {}}");
    let place = format!("oci://{}/policy/fleet:main", server.host());
    let push = |args: &str| run(here, &format!("release push {}", args.replace("PLACE", &place)));
    let good = "git PLACE --authority ca.crt --login login.json";
    let (code, out, err) = push(good);
    assert!(
        code == Some(0) && out.contains(": sha256:") && out.contains("3 files, 3 of them new there"),
        "{out}{err}"
    );
    let before = server.manifest("policy/fleet", "main").expect("it is there");
    let (_, out, _) = push(good);
    assert!(out.contains("3 files, 0 of them new there"), "{out}");

    for (args, says) in [
        ("git PLACE --authority ca.crt", "a token was not given: 401"),
        ("git PLACE --authority ca.crt --login wrong.json", "a token was not given: 401"),
        ("git PLACE --authority ca.crt --login nobody.json", "has no login for localhost:"),
        ("git PLACE --authority key.pem", "there is no certificate in it"),
        ("git PLACE --login login.json", "TLS: "),
        ("one PLACE --authority ca.crt --login login.json", "neither a release nor a cluster"),
        ("none PLACE --authority ca.crt --login login.json", "none/releases: No such file"),
        ("git oci://localhost/fleet --authority ca.crt", "neither tag nor digest"),
        ("git registry/fleet:main", "neither oci:// nor oci+http://"),
    ] {
        let (code, out, err) = push(args);
        assert!(code == Some(2) && err.contains(says), "{args}: {code:?} {out}{err}");
        assert!(!err.contains("geheim") && !err.contains("falsch"), "{err}");
    }
    // What no cluster would take, keeps all of it away.
    let dev = fs::read_to_string(here.join("git/clusters/dev.json")).expect("it is there");
    let one = fs::read_to_string(here.join("git/releases/release-1.json")).expect("it is there");
    let other = dev.replace("\"number\": 1", "\"number\": 2");
    assert_ne!(dev, other);
    for (name, text, says) in [
        ("git/clusters/dev.json", other.as_str(), "names release 2 ("),
        ("git/clusters/dev.json", "{}", "it is no ManagedCluster"),
        ("git/clusters/east.json", dev.as_str(), "of another cluster"),
        ("git/releases/release-2.json", one.as_str(), "belongs into releases/release-1.json"),
        ("git/releases/release-2.json", "{", "it is no JSON"),
    ] {
        write(name, text);
        let (code, out, err) = push(good);
        assert!(code == Some(2) && err.contains(says), "{name}: {code:?} {out}{err}");
        match name {
            "git/clusters/dev.json" => write(name, &dev),
            _ => fs::remove_file(here.join(name)).expect("it goes"),
        }
    }
    assert_eq!(server.manifest("policy/fleet", "main"), Some(before));
}

#[test]
fn what_cannot_be_enforced_becomes_no_release_and_the_line_is_named() {
    let folder = folder();
    let (code, _, err) = run(folder.path(), "release build -f bad --number 1 --sign key.pem -o bad.json");
    assert!(
        code == Some(1) && err.contains("bad/policy.yaml:") && !folder.path().join("bad.json").exists(),
        "{err}"
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    let (code, _, err) =
        run(folder.path(), &format!("release build -f one --number 1 --rollback-to {digest} -o x.json"));
    assert!(code == Some(2) && err.contains("which they are said to bring back"), "{err}");
}

#[test]
fn clusters_that_judge_differently_differ_in_objects_and_connections() {
    let folder = folder();
    let here = folder.path();
    let (code, out, err) = run(here, "clusters diff one one");
    assert!(code == Some(0) && out.contains("0 objects, 0 connections differ"), "{out}{err}");
    let (code, out, _) = run(here, "clusters diff one two");
    assert_eq!(code, Some(1));
    assert!(out.contains("+ shop/web[Pod] -> shop/db[Pod] : TCP 5433"), "{out}");
    assert!(out.contains("denied on the other side by NetworkPolicy shop/db"), "{out}");
    let (code, out, _) = run(here, "clusters diff one two --json");
    let whole: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((code, &whole["connections"][0]["onlyFirst"][0]), (Some(1), &"5432".into()), "{out}");
    let (code, _, err) = run(here, "clusters diff one bad");
    assert!(code == Some(2) && err.contains("cannot be compared"), "{err}");
}
