package principalkit;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.StreamReadConstraints;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.factories.DeserializationFormatFactory;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;

/**
 * The format 'json-fields': a record is read once, from its first byte to its last, and none is ever refused.
 *
 * <p>Flink's own 'json' either fails the job on a bad record or drops it. Here it comes as a row, so that SQL decides what
 * to do with it. A column's type says what it gets:
 *
 * <ul>
 *   <li>BYTES: the record as it came; INT: its length in bytes (0 for none);
 *   <li>BOOLEAN: whether it is one JSON object, of UTF-8 text (bytes that are none count as U+FFFD) nested at most 100 deep;
 *   <li>STRING: the object's field of the column's name: the text, a number as it is written, true or false. NULL when it
 *       is null or not there, '' when it is an object or array;
 *   <li>BIGINT: the field, when its text is a whole number of at most 18 digits. NULL when it is null or not there, the
 *       lowest BIGINT when it is anything else.
 * </ul>
 *
 * <p>Of a field that is there twice, the last counts.
 */
public final class JsonFieldsFormatFactory implements DeserializationFormatFactory {
    @Override
    public String factoryIdentifier() {
        return "json-fields";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of();
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of();
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        return new DecodingFormat<>() {
            @Override
            public DeserializationSchema<RowData> createRuntimeDecoder(DynamicTableSource.Context source, DataType type) {
                return new Reader((RowType) type.getLogicalType(), source.createTypeInformation(type));
            }

            @Override
            public ChangelogMode getChangelogMode() {
                return ChangelogMode.insertOnly();
            }
        };
    }

    /** Reads one record into one row. */
    static final class Reader implements DeserializationSchema<RowData> {
        static final int DEPTH_MAX = 100;
        private static final int DIGITS_MAX = 18;
        private static final StringData NO_TEXT = StringData.fromString("");
        private static final Set<LogicalTypeRoot> KNOWN = Set.of(
                LogicalTypeRoot.VARBINARY, LogicalTypeRoot.INTEGER, LogicalTypeRoot.BOOLEAN, LogicalTypeRoot.VARCHAR,
                LogicalTypeRoot.BIGINT);

        private final LogicalTypeRoot[] types;
        private final HashMap<String, Integer> fields = new HashMap<>();
        private final TypeInformation<RowData> produced;
        private transient JsonFactory json;

        Reader(RowType row, TypeInformation<RowData> produced) {
            this.produced = produced;
            types = new LogicalTypeRoot[row.getFieldCount()];
            for (int i = 0; i < types.length; i++) {
                types[i] = row.getTypeAt(i).getTypeRoot();
                if (!KNOWN.contains(types[i])) {
                    throw new ValidationException("json-fields has no " + row.getTypeAt(i) + " (column "
                            + row.getFieldNames().get(i) + "); it has BYTES, INT, BOOLEAN, STRING and BIGINT");
                }
                if (types[i] == LogicalTypeRoot.VARCHAR || types[i] == LogicalTypeRoot.BIGINT) {
                    fields.put(row.getFieldNames().get(i), i);
                }
            }
        }

        @Override
        public void open(InitializationContext context) {
            json = JsonFactory.builder()
                    .streamReadConstraints(StreamReadConstraints.builder()
                            .maxNestingDepth(DEPTH_MAX)
                            .maxNumberLength(Integer.MAX_VALUE)
                            .maxNameLength(Integer.MAX_VALUE)
                            .maxStringLength(Integer.MAX_VALUE)
                            .build())
                    .build();
        }

        @Override
        public RowData deserialize(byte[] record) {
            GenericRowData row = new GenericRowData(types.length);
            boolean object = record != null && read(new String(record, StandardCharsets.UTF_8), row);
            for (int i = 0; i < types.length; i++) {
                switch (types[i]) {
                    case VARBINARY -> row.setField(i, record);
                    case INTEGER -> row.setField(i, record == null ? 0 : record.length);
                    case BOOLEAN -> row.setField(i, object);
                    default -> {
                        if (!object) {
                            row.setField(i, null); // what was read before it broke off
                        }
                    }
                }
            }
            return row;
        }

        /** Fill in the fields; whether the text was one object and nothing else. */
        private boolean read(String text, GenericRowData row) {
            try (JsonParser parser = json.createParser(text)) {
                if (parser.nextToken() != JsonToken.START_OBJECT) {
                    return false;
                }
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    Integer column = fields.get(parser.currentName());
                    JsonToken value = parser.nextToken();
                    if (column != null) {
                        row.setField(column, types[column] == LogicalTypeRoot.BIGINT ? number(parser) : text(parser));
                    }
                    if (value.isStructStart()) {
                        parser.skipChildren();
                    }
                }
                return parser.nextToken() == null;
            } catch (IOException broken) {
                return false;
            }
        }

        private static StringData text(JsonParser parser) throws IOException {
            JsonToken value = parser.currentToken();
            if (value == JsonToken.VALUE_NULL) {
                return null;
            }
            return value.isScalarValue() ? StringData.fromString(parser.getText()) : NO_TEXT;
        }

        private static Long number(JsonParser parser) throws IOException {
            JsonToken value = parser.currentToken();
            if (value == JsonToken.VALUE_NULL) {
                return null;
            }
            return value.isScalarValue() ? whole(parser.getText()) : Long.MIN_VALUE;
        }

        private static long whole(String text) {
            int first = text.startsWith("-") ? 1 : 0;
            int digits = text.length() - first;
            if (digits < 1 || digits > DIGITS_MAX) {
                return Long.MIN_VALUE;
            }
            long number = 0;
            for (int i = first; i < text.length(); i++) {
                int digit = text.charAt(i) - '0';
                if (digit < 0 || digit > 9) {
                    return Long.MIN_VALUE;
                }
                number = 10 * number + digit;
            }
            return first == 1 ? -number : number;
        }

        @Override
        public boolean isEndOfStream(RowData row) {
            return false;
        }

        @Override
        public TypeInformation<RowData> getProducedType() {
            return produced;
        }
    }
}
