require 'jpush'

app_key, token = '7d431e42dfa6a6d693ac2d04', 'demoTokenForLocalUse2026'
client = JPush::Client.new(app_key, token)

push = JPush::Push::PushPayload.new(
  platform: 'all',
  audience: JPush::Push::Audience.new.set_alias('anna'),
  notification: 'Hello'
)
puts client.pusher.push(push).body
