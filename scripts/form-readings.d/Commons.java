import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.commons.fileupload.*;

/** Reads lines "CONTENT-TYPE BODY" and writes "OK NAME:CONTENT …" or "REFUSED" for each, all in hexadecimal digits. */
public class Commons {
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            var words = line.split(" ", -1);
            var contentType = new String(HEX.parseHex(words[0]), StandardCharsets.ISO_8859_1);
            System.out.println(read(contentType, HEX.parseHex(words[1])));
        }
    }

    private static String read(String contentType, byte[] body) {
        var parts = new StringBuilder("OK");
        try {
            var upload = new FileUpload();
            upload.setHeaderEncoding("UTF-8");
            var items = upload.getItemIterator(new Form(contentType, body));
            while (items.hasNext()) {
                var item = items.next();
                var content = item.openStream().readAllBytes();
                var name = item.getFieldName().getBytes(StandardCharsets.UTF_8);
                parts.append(' ').append(HEX.formatHex(name)).append(':').append(HEX.formatHex(content));
            }
            return parts.toString();
        } catch (Exception refused) {
            return "REFUSED";
        }
    }

    private record Form(String contentType, byte[] body) implements UploadContext {
        public String getCharacterEncoding() {
            return "UTF-8";
        }

        public String getContentType() {
            return contentType;
        }

        public int getContentLength() {
            return body.length;
        }

        public long contentLength() {
            return body.length;
        }

        public InputStream getInputStream() {
            return new ByteArrayInputStream(body);
        }
    }
}
