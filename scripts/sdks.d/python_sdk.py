import jpush

app_key, token, gateway = "7d431e42dfa6a6d693ac2d04", "demoTokenForLocalUse2026", "http://127.0.0.1:8080/v3/"
jpush.common.ZONES["GATEWAY"] = {
    "PUSH": gateway,
    "REPORT": gateway,
    "DEVICE": gateway + "devices/",
    "ALIAS": gateway + "aliases/",
    "TAG": gateway + "tags/",
    "SCHEDULE": gateway + "schedules/",
}

push = jpush.JPush(app_key, token, zone="GATEWAY").create_push()
push.platform = jpush.all_
push.audience = jpush.audience(jpush.alias("anna"))
push.notification = jpush.notification(alert="Hello")
print(push.send().payload)
