import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URL;
import java.util.Base64;

/** One push with the JDK's own client, as the old Java SDK sends it. */
class Jdk {
    public static void main(String[] arguments) throws IOException {
        // Makes the push use a connection that was kept open.
        open("/").getInputStream().readAllBytes();

        HttpURLConnection push = open("/v3/push");
        push.setRequestMethod("POST");
        push.setDoOutput(true);
        push.setRequestProperty("Content-Type", "application/json");
        String credentials = Base64.getEncoder().encodeToString(System.getenv("CREDENTIALS").getBytes());
        push.setRequestProperty("Authorization", "Basic " + credentials);
        try {
            push.getOutputStream().write(System.getenv("BODY").getBytes());
            System.out.println(push.getResponseCode() + " " + new String(push.getInputStream().readAllBytes()));
        } catch (IOException error) {
            System.out.println("error: " + error);
        }
    }

    static HttpURLConnection open(String path) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) new URL(System.getenv("URL") + path).openConnection();
        connection.setReadTimeout(20_000);
        return connection;
    }
}
