//! The one-time password in user data.

use shepherd_domain::rendering::GuestPassword;

use super::*;

const HASH: &str =
    "$6$rounds=5000$saltsaltsaltsalt$0123456789ABCDEFabcdef./0123456789ABCDEFabcdef./0123456789ABCDEFabcdef./01";

fn merged(user_data: &str) -> String {
    let password = GuestPassword {
        username: "cloud-user".to_owned(),
        hash: HASH.to_owned(),
    };
    user_data::with_password(user_data, &password)
}

fn read(text: &str) -> Value {
    assert!(text.starts_with("#cloud-config\n"), "{text}");
    serde_saphyr::from_str(text).unwrap()
}

fn own() -> Value {
    json!({"name": "cloud-user", "password": HASH, "type": "hash"})
}

/// As it looks when the template says nothing about passwords.
fn section() -> String {
    format!("chpasswd:\n  expire: true\n  users:\n  - name: cloud-user\n    password: {HASH}\n    type: hash\n")
}

#[test]
fn a_guest_without_user_data_is_told_its_password() {
    assert_eq!(merged("#cloud-config\n"), format!("#cloud-config\n{}", section()));
    assert_eq!(merged("#cloud-config"), format!("#cloud-config\n{}", section()));
    assert_eq!(merged("#cloud-config\n# Nothing.\n\n").matches("chpasswd").count(), 1);
}

#[test]
fn the_words_of_the_template_stay_as_they_are() {
    let rest = "# The team's keys.\r\nwrite_files:\n- path: /etc/motd\n  permissions: 0644\n  content: !!binary aGk=\n\
                runcmd:\n- echo on\nssh_pwauth: no\npassword: theirs\nlast: |\n  no line end";
    let merged = merged(&format!("#cloud-config\n{rest}"));
    assert_eq!(merged, format!("#cloud-config\n{}{rest}", section()));
}

#[test]
fn the_mark_of_a_document_stays_in_front() {
    let merged = merged("#cloud-config\n# Ours.\n---\npackages: [vim]\n...\n");
    assert_eq!(
        merged,
        format!("#cloud-config\n# Ours.\n---\n{}packages: [vim]\n...\n", section())
    );
}

#[test]
fn other_accounts_keep_their_passwords() {
    let merged = merged(
        "#cloud-config\nchpasswd:\n  expire: false\n  users:\n  - {name: admin, type: RANDOM}\n\n  - {name: cloud-user, password: old}\nhostname: x\n",
    );
    assert_eq!(
        read(&merged),
        json!({
            "chpasswd": {"expire": true, "users": [{"name": "admin", "type": "RANDOM"}, own()]},
            "hostname": "x",
        })
    );
    assert_eq!(merged.matches("chpasswd").count(), 1);
}

#[test]
fn the_older_list_forgets_the_account() {
    let lines = read(&merged(
        "#cloud-config\nchpasswd:\n  list: |\n    cloud-user:old\n    backup:kept\n",
    ));
    assert_eq!(
        lines["chpasswd"],
        json!({"expire": true, "list": "backup:kept\n", "users": [own()]})
    );
    let entries = read(&merged(
        "#cloud-config\nchpasswd: {list: ['cloud-user:old', 'backup:kept']}\n",
    ));
    assert_eq!(entries["chpasswd"]["list"], json!(["backup:kept"]));
    let nothing = read(&merged("#cloud-config\nchpasswd:\n  list:\n  - cloud-user:old\n"));
    assert_eq!(nothing["chpasswd"], json!({"expire": true, "users": [own()]}));
}

#[test]
fn a_section_that_is_none_is_replaced() {
    for odd in ["", " null", " [1, 2]", " text", " {users: text}"] {
        let told = read(&merged(&format!("#cloud-config\nchpasswd:{odd}\nhostname: x\n")));
        assert_eq!(
            told,
            json!({"chpasswd": {"expire": true, "users": [own()]}, "hostname": "x"}),
            "{odd:?}"
        );
    }
}

#[test]
fn what_cannot_be_spliced_is_written_anew() {
    let wanted = json!({"chpasswd": {"expire": true, "users": [own()]}, "mode": 420, "hostname": "x"});
    for user_data in [
        "#cloud-config\n{hostname: x, mode: 0644}\n",
        "#cloud-config\n  hostname: x\n  mode: 0644\n",
        "#cloud-config\n\"chpasswd\": {}\nhostname: x\nmode: 0644\n",
    ] {
        assert_eq!(read(&merged(user_data)), wanted, "{user_data}");
    }
}

#[test]
fn what_is_no_mapping_gives_way() {
    for user_data in [
        "#cloud-config\n- one\n- two\n",
        "#cloud-config\na: [\n",
        "#cloud-config\ntext\n",
    ] {
        assert_eq!(
            merged(user_data),
            format!("#cloud-config\n{}", section()),
            "{user_data}"
        );
    }
}

proptest! {
    #[test]
    fn every_text_becomes_a_document_with_the_password(
        text in r#"(chpasswd|users|list|a|- |: |\n|  |\{|\}|\[|\]|,|'|"|#|\||---|\.\.\.|&a|\*a){0,24}"#,
    ) {
        let user_data = format!("#cloud-config\n{text}");
        let merged = merged(&user_data);
        prop_assert_eq!(&merged, &self::merged(&user_data));
        let told = read(&merged);
        let users = told["chpasswd"]["users"].as_array().unwrap();
        prop_assert_eq!(users.last(), Some(&own()));
        prop_assert_eq!(&told["chpasswd"]["expire"], &json!(true));
    }
}
