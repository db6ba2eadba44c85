//! The example as it is run: the product with a chat, a real PostgreSQL, and a chat that is away at first.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test should end it where it stands"
)]

mod chat;
mod product;

use serde_json::json;

use chat::Chat;
use product::{Product, eventually};

const TOKEN: &str = "a token of the chat";
const ALERT: &str = "Emergency access was given";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_administrators_are_told_reaches_the_chat_although_it_was_away() {
    let product = Product::seeded().await;
    let plain = product.serve(&[]).await;
    let admin = plain.log_in_first("admin").await;
    let account = plain.create_user(&admin, "chat").await;
    plain.stop().await;

    let chat = Chat::start().await;
    let environment = [
        ("CHAT_WEBHOOK_URL", chat.url.as_str()),
        ("CHAT_WEBHOOK_TOKEN", TOKEN),
        ("CHAT_USER_ID", account.as_str()),
    ];
    product.run(&["break-glass", "--user", "admin"], &environment).await;
    assert_eq!(chat.got().len(), 0, "a transaction posts nothing");

    let serving = product.serve(&environment).await;
    let (refused, taken) = eventually("the chat has the message", async || {
        let got = chat.got();
        (got.len() >= 2).then(|| (got[0].clone(), got[1].clone()))
    })
    .await;
    assert_eq!(refused.body, taken.body, "what the chat did not take is posted again");
    assert_eq!(taken.authorization, format!("Bearer {TOKEN}"));
    let text = taken.body["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("[urgent] {ALERT}\nadmin ")), "{text}");

    let reader = serving.log_in("chat").await;
    eventually("nothing waits for the chat any more", async || {
        let unread = serving.get(&reader, "/notifications/unread-count").await;
        (unread == json!({"count": 0})).then_some(())
    })
    .await;
    assert_eq!(chat.got().len(), 2, "what it took is not posted again");
    let admin = serving.log_in("admin").await;
    let inbox = serving.get(&admin, "/notifications").await;
    let mut titles = inbox["items"].as_array().unwrap().iter().map(|it| &it["title"]);
    assert!(
        titles.any(|title| title == ALERT),
        "people have it in their inbox as before: {inbox}"
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_chat_stops_the_start() {
    let product = Product::unseeded().await;
    let said = product
        .fail(&["serve"], &[("CHAT_WEBHOOK_URL", "https://chat.example.org/hook")])
        .await;
    assert!(said.contains("CHAT_USER_ID is missing"), "{said}");
}
