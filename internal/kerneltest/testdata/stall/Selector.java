// One thread, a selector, and a handler that asks a database as it always did.
import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;

public class Selector {
    static byte[] query() throws IOException {
        try (Socket db = new Socket("127.0.0.1", Integer.parseInt(System.getenv("BACKEND")))) {
            db.getOutputStream().write("select 1\n".getBytes());
            return db.getInputStream().readNBytes(4);
        }
    }

    public static void main(String[] args) throws Exception {
        java.nio.channels.Selector selector = java.nio.channels.Selector.open();
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0])), 50);
        server.configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
        System.out.println("ready");
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel client = server.accept();
                    client.configureBlocking(false);
                    client.register(selector, SelectionKey.OP_READ);
                } else {
                    SocketChannel client = (SocketChannel) key.channel();
                    client.read(ByteBuffer.allocate(100));
                    client.write(ByteBuffer.wrap(query()));
                }
            }
            selector.selectedKeys().clear();
        }
    }
}
