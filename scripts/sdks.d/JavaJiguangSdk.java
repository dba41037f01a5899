import cn.jiguang.sdk.api.PushApi;
import cn.jiguang.sdk.bean.push.PushSendParam;
import cn.jiguang.sdk.bean.push.audience.Audience;
import cn.jiguang.sdk.bean.push.message.notification.NotificationMessage;
import cn.jiguang.sdk.constants.ApiConstants;
import feign.Retryer;
import java.util.Collections;

class JavaJiguangSdk {
    public static void main(String[] arguments) {
        PushApi api = new PushApi.Builder()
                .setHost("http://127.0.0.1:8080")
                .setAppKey("7d431e42dfa6a6d693ac2d04")
                .setMasterSecret("demoTokenForLocalUse2026")
                // Without it Feign repeats a push after a time-out.
                .setRetryer(Retryer.NEVER_RETRY)
                .build();

        NotificationMessage notification = new NotificationMessage();
        notification.setAlert("Hello");
        Audience audience = new Audience();
        audience.setAliasList(Collections.singletonList("anna"));
        PushSendParam push = new PushSendParam();
        push.setPlatform(ApiConstants.Platform.ALL);
        push.setAudience(audience);
        push.setNotification(notification);
        System.out.println(api.send(push));
    }
}
