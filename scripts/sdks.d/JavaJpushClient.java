import cn.jiguang.common.ClientConfig;
import cn.jpush.api.JPushClient;
import cn.jpush.api.push.model.Platform;
import cn.jpush.api.push.model.PushPayload;
import cn.jpush.api.push.model.audience.Audience;
import cn.jpush.api.push.model.notification.Notification;

class JavaJpushClient {
    public static void main(String[] arguments) throws Exception {
        String appKey = "7d431e42dfa6a6d693ac2d04", token = "demoTokenForLocalUse2026";
        ClientConfig config = ClientConfig.getInstance();
        config.setPushHostName("http://127.0.0.1:8080");
        config.setDeviceHostName("http://127.0.0.1:8080");
        config.setReportHostName("http://127.0.0.1:8080");
        config.setScheduleHostName("http://127.0.0.1:8080");

        JPushClient client = new JPushClient(token, appKey, null, config);
        System.out.println(client.sendPush(PushPayload.newBuilder()
                .setPlatform(Platform.all())
                .setAudience(Audience.alias("anna"))
                .setNotification(Notification.alert("Hello"))
                .build()));
    }
}
