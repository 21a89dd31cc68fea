// The other end, with the Java SDK of CloudEvents. Records go in and out as lines: a header `name value`, the value in
// base64 under the name `=`, and an empty line at the end. The requests it makes come first; then what it sees in each
// record of the standard input.
import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.core.message.Encoding;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.CloudEventDeserializer;
import io.cloudevents.kafka.CloudEventSerializer;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.Scanner;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;

class CloudEvents {
    private static final String TOPIC = "any";

    public static void main(String[] arguments) {
        CloudEvent request = CloudEventBuilder.v1()
            .withId(arguments[0])
            .withType(arguments[1])
            .withSource(URI.create("/shop"))
            .withExtension("correlationid", "night")
            .withData("application/json", arguments[2].getBytes(StandardCharsets.UTF_8))
            .build();
        write(request, Map.of(CloudEventSerializer.ENCODING_CONFIG, Encoding.BINARY));
        write(request, Map.of(
            CloudEventSerializer.ENCODING_CONFIG, Encoding.STRUCTURED,
            CloudEventSerializer.EVENT_FORMAT_CONFIG, JsonFormat.CONTENT_TYPE));
        Headers headers = new RecordHeaders();
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            String[] parts = lines.nextLine().split(" ", 2);
            if (parts[0].equals("=")) {
                show(new CloudEventDeserializer().deserialize(TOPIC, headers, Base64.getDecoder().decode(parts[1])));
            } else if (parts.length == 2) {
                headers.add(parts[0], parts[1].getBytes(StandardCharsets.UTF_8));
            } else {
                headers = new RecordHeaders();
            }
        }
    }

    private static void write(CloudEvent event, Map<String, Object> configuration) {
        CloudEventSerializer serializer = new CloudEventSerializer();
        serializer.configure(configuration, false);
        Headers headers = new RecordHeaders();
        byte[] value = serializer.serialize(TOPIC, headers, event);
        headers.forEach(header -> line(header.key(), new String(header.value(), StandardCharsets.UTF_8)));
        end(value);
    }

    private static void show(CloudEvent event) {
        event.getAttributeNames().forEach(name -> line(name, event.getAttribute(name)));
        event.getExtensionNames().forEach(name -> line(name, event.getExtension(name)));
        end(event.getData().toBytes());
    }

    private static void line(String name, Object value) {
        System.out.println(name + " " + value);
    }

    private static void end(byte[] value) {
        line("=", Base64.getEncoder().encodeToString(value));
        System.out.println();
    }
}
