import java.io.IOException;
import java.util.Base64;
import org.apache.http.NoHttpResponseException;
import org.apache.http.client.config.RequestConfig;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpGet;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.entity.StringEntity;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClientBuilder;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.util.EntityUtils;

/** One push with Apache's client 4.5, which sends it again by its own rule or the SDK's: Apache default|sdk. */
class Apache {
    public static void main(String[] arguments) throws IOException {
        HttpClientBuilder builder = HttpClients.custom();
        builder.setDefaultRequestConfig(RequestConfig.custom().setSocketTimeout(20_000).build());
        if (arguments[0].equals("sdk")) {
            // By default a POST that was sent is not repeated; the old Java SDK has a rule of its own.
            builder.setRetryHandler((error, count, context) -> count < 3 && error instanceof NoHttpResponseException);
        }
        String url = System.getenv("URL");
        String credentials = Base64.getEncoder().encodeToString(System.getenv("CREDENTIALS").getBytes());
        HttpPost push = new HttpPost(url + "/v3/push");
        push.setHeader("Content-Type", "application/json");
        push.setHeader("Authorization", "Basic " + credentials);
        push.setEntity(new StringEntity(System.getenv("BODY")));
        try (CloseableHttpClient client = builder.build()) {
            // Makes the push use a connection that was kept open.
            EntityUtils.consume(client.execute(new HttpGet(url + "/")).getEntity());
            CloseableHttpResponse answer = client.execute(push);
            int status = answer.getStatusLine().getStatusCode();
            System.out.println(status + " " + EntityUtils.toString(answer.getEntity()));
        } catch (IOException error) {
            System.out.println("error: " + error);
        }
    }
}
