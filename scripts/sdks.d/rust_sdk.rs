use jpush::client::JPushClient;
use jpush::config::JPushConfig;
use jpush::msg::JPushMessage;

#[tokio::main]
async fn main() {
    let client = JPushClient::new(JPushConfig {
        url: "http://127.0.0.1:8080/v3/push".to_owned(),
        app_key: "7d431e42dfa6a6d693ac2d04".to_owned(),
        secret: "demoTokenForLocalUse2026".to_owned(),
    });
    let mut push = JPushMessage::simple_normal_message("News", "Hello", "WORK");
    push.add_alias(vec!["anna".to_owned()]);
    println!("{:?}", client.send(push).await);
}
