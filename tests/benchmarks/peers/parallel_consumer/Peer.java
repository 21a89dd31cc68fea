import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Requests in key order, each a create and its `created`, a transaction every 100 ms.
 *
 * <p>`created` only: to poll, a thread would have to wait for each operation's end.
 */
public final class Peer {
    private static final Map<String, String> ENV = System.getenv();
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final String CREATED = "terminal.operation.created.v1";
    private static final URI OPERATIONS = URI.create(ENV.get("DINTERO_BASE_URL") + "/v1/admin/terminals/operations");

    private final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final String bearer = "Bearer " + token();

    public static void main(String[] args) throws InterruptedException {
        var peer = new Peer();
        var brokers = ENV.get("KAFKA_BOOTSTRAP_SERVERS");
        var consumer = new KafkaConsumer<String, String>(Map.of(
                "bootstrap.servers", brokers,
                "group.id", ENV.get("KAFKA_GROUP_ID"),
                "enable.auto.commit", "false",
                "auto.offset.reset", "earliest",
                "isolation.level", "read_committed",
                "key.deserializer", StringDeserializer.class,
                "value.deserializer", StringDeserializer.class));
        var producer = new KafkaProducer<String, String>(Map.of(
                "bootstrap.servers", brokers,
                "transactional.id", ENV.get("KAFKA_GROUP_ID"),
                "key.serializer", StringSerializer.class,
                "value.serializer", StringSerializer.class));
        var options = ParallelConsumerOptions.<String, String>builder()
                .ordering(ProcessingOrder.KEY)
                .commitMode(CommitMode.PERIODIC_TRANSACTIONAL_PRODUCER)
                .commitInterval(Duration.ofMillis(100))
                .maxConcurrency(Integer.parseInt(ENV.get("DINTERO_MAX_IN_FLIGHT")))
                .consumer(consumer)
                .producer(producer)
                .build();
        var processor = ParallelStreamProcessor.createEosStreamProcessor(options);
        Runtime.getRuntime().addShutdownHook(new Thread(processor::closeDrainFirst));
        processor.subscribe(List.of(ENV.get("KAFKA_REQUESTS_TOPIC")));
        processor.pollAndProduce(context -> peer.create(context.getSingleConsumerRecord()));
        Thread.currentThread().join();
    }

    private ProducerRecord<String, String> create(ConsumerRecord<String, String> record) {
        var id = new String(record.headers().lastHeader("ce_id").value(), StandardCharsets.UTF_8);
        var request = HttpRequest.newBuilder(OPERATIONS)
                .timeout(TIMEOUT)
                .header("Authorization", bearer)
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", id)
                .POST(BodyPublishers.ofString(record.value()))
                .build();
        return created(record, id, answer(request));
    }

    private static ProducerRecord<String, String> created(ConsumerRecord<String, String> record, String id, JsonNode told) {
        var now = Instant.now().truncatedTo(ChronoUnit.MILLIS).toString();
        var terminal = told.get("terminal_id").asText();
        ObjectNode value = JSON.createObjectNode();
        value.put("message_id", id);
        value.put("idempotency_key", id);
        value.put("status", "created");
        value.put("terminal_id", terminal);
        value.put("operation", told.get("operation").asText());
        value.put("operation_id", told.get("id").asText());
        value.put("requested_at", Instant.ofEpochMilli(record.timestamp()).toString());
        value.put("occurred_at", now);
        value.set("terminal_operation", told);
        var outcome = new ProducerRecord<>(ENV.get("KAFKA_OUTCOMES_TOPIC"), terminal, value.toString());
        var event = UUID.nameUUIDFromBytes((id + ":" + CREATED).getBytes(StandardCharsets.UTF_8));
        Map.of(
                "ce_specversion", "1.0",
                "ce_type", CREATED,
                "ce_id", event.toString(),
                "ce_source", "/benchmark",
                "ce_subject", terminal,
                "ce_time", now,
                "ce_dataschema", "urn:terminal-operations:schema:" + CREATED,
                "ce_causationid", id,
                "ce_correlationid", id,
                "content-type", "application/json")
                .forEach((name, text) -> outcome.headers().add(name, text.getBytes(StandardCharsets.UTF_8)));
        return outcome;
    }

    private String token() {
        var account = ENV.get("DINTERO_ACCOUNT_ID");
        var basic = ENV.get("DINTERO_CLIENT_ID") + ":" + ENV.get("DINTERO_CLIENT_SECRET");
        var asked = JSON.createObjectNode()
                .put("grant_type", "client_credentials")
                .put("audience", "https://api.dintero.com/v1/accounts/" + account);
        var request = HttpRequest.newBuilder(
                        URI.create(ENV.get("DINTERO_BASE_URL") + "/v1/accounts/" + account + "/auth/token"))
                .timeout(TIMEOUT)
                .header("Authorization", "Basic " + Base64.getEncoder().encodeToString(basic.getBytes(StandardCharsets.UTF_8)))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(asked.toString()))
                .build();
        return answer(request).get("access_token").asText();
    }

    private JsonNode answer(HttpRequest request) {
        try {
            var response = http.send(request, BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                throw new IllegalStateException("the API answered " + response.statusCode());
            }
            return JSON.readTree(response.body());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(error);
        }
    }
}
