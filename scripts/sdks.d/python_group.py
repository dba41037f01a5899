import jpush

group_key, token, gateway = "e4c938578ee598be517a2243", "demoTokenForLocalUse2026", "http://127.0.0.1:8080/v3/"
jpush.common.ZONES["GATEWAY"] = {"PUSH": gateway}

client = jpush.GroupPush(group_key, token)
client.zone = "GATEWAY"
push = client.create_push()
push.platform = jpush.all_
push.audience = jpush.audience(jpush.alias("anna"))
push.notification = jpush.notification(alert="Hello")
print(push.send().payload)
